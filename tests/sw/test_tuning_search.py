from itertools import pairwise, product
from math import inf, prod

import numpy as np
import pytest
from scipy.optimize import minimize

from jpnet_sw.tuning.proposal import propose
from jpnet_sw.tuning.rounds import Load, Round, TuneConfig, run_rounds
from jpnet_sw.tuning.space import Family, Group, Point, groups_of

INPUTS = {"a": (), "b": ("a",), "c": ("b",)}
WORK = {"a": 100.0, "b": 1000.0, "c": 400.0}
HARM = {"a": 0.04, "b": 0.01, "c": 0.001}
FIXED = 20.0


class Toy:
    """A network whose loss and cycles are known functions of the combination."""

    def __init__(self, *, resident: float = inf) -> None:
        self.point = Point(densities=dict.fromkeys(WORK, 1.0), rates={"a": 1.0, "b": 1.0})
        self.resident = resident
        self.before = [self.point]
        self.loads: list[Load] = []

    def occupied(self):
        return {"a": 0.8, "b": 0.6}

    def loss(self, point):
        rate_harm = sum(0.01 * (1 / rate - 1) for rate in point.rates.values())
        return rate_harm + sum(HARM[n] * (1 / d - 1) for n, d in point.densities.items())

    def cycles(self, point):
        pairs = (
            WORK[name] * density * prod(point.rates[read] for read in INPUTS[name])
            for name, density in point.densities.items()
        )
        return FIXED + sum(pairs)

    def load(self, point, kind):
        weights = sum(1000 * density for density in point.densities.values())
        if kind is Load.WEIGHTS:
            return weights
        return inf if weights > self.resident else self.cycles(point)

    def train(self, point, number):
        self.before.append(self.point)
        self.point = point
        return 100 - 10 * self.loss(point)

    def undo(self):
        self.point = self.before.pop()


def search(family, *, rounds=22, tolerance=1.0, toy=None):
    toy = toy or Toy()
    config = TuneConfig(tolerance_percent=tolerance, rounds=rounds)
    return list(run_rounds(toy, groups_of(family, INPUTS), config, floor_percent=100 - tolerance))


def fewest(rounds):
    return min(found.cycles for found in rounds if found.kept)


def test_groups_pair_a_layer_with_the_filters_that_it_reads():
    joint = groups_of(Family.JOINT, INPUTS)
    assert joint == (
        Group(layers=("a",), filters=()),
        Group(layers=("b",), filters=("a",)),
        Group(layers=("c",), filters=("b",)),
    )
    assert groups_of(Family.UNIFORM, INPUTS) == (Group(layers=("a", "b", "c"), filters=("a", "b")),)
    assert groups_of(Family.ONE_RATE, INPUTS)[-1] == Group(layers=(), filters=("a", "b"))


def test_filter_that_two_layers_read_changes_once():
    groups = groups_of(Family.JOINT, {"a": (), "b": ("a",), "c": ("a",)})
    assert [group.filters for group in groups] == [(), ("a",), ()]


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.8])
def test_proposal_is_the_least_harm_of_all_candidates_that_reach_the_load(ratio):
    toy = Toy()
    groups = groups_of(Family.JOINT, INPUTS)
    found = propose(
        groups,
        toy.point,
        ratio=ratio,
        occupied=toy.occupied(),
        loss=toy.loss,
        load=toy.cycles,
    )
    target = ratio * toy.cycles(toy.point)
    steps = [1.0, *(ratio**power for power in (0.5, 1, 2))]
    rates = {
        name: [1.0, *(min(1.0, share * step) for step in (ratio**-0.5, *steps[1:]))]
        for name, share in toy.occupied().items()
    }
    tried = (
        Point(densities=dict(zip(WORK, densities, strict=True)), rates={"a": a, "b": b})
        for densities in product(steps, repeat=3)
        for a in rates["a"]
        for b in rates["b"]
    )
    reached = [toy.loss(point) for point in tried if toy.cycles(point) <= 1.01 * target]
    assert found.load <= 1.01 * target
    assert found.load == pytest.approx(toy.cycles(found.point))
    assert toy.loss(found.point) == pytest.approx(min(reached), rel=0.05)


def test_savings_within_a_layer_multiply():
    toy = Toy()
    toy.point = Point(densities={"a": 1, "b": 1, "c": 1}, rates={"a": 0.8, "b": 0.6})
    found = propose(
        groups_of(Family.JOINT, INPUTS),
        toy.point,
        ratio=0.3,
        occupied=toy.occupied(),
        loss=toy.loss,
        load=toy.cycles,
    )
    assert found.predicted == pytest.approx(found.load)


def test_what_saves_nothing_is_left_alone():
    toy = Toy()
    found = propose(
        groups_of(Family.JOINT, INPUTS),
        toy.point,
        ratio=0.5,
        occupied=toy.occupied(),
        loss=toy.loss,
        load=lambda point: 1000 * point.densities["c"] + 10,
    )
    assert found.point.densities == {"a": 1.0, "b": 1.0, "c": pytest.approx(0.5, abs=0.26)}
    assert found.point.rates == toy.point.rates


def test_impossible_load_gives_the_least_one():
    found = propose(
        groups_of(Family.UNIFORM, INPUTS),
        Toy().point,
        ratio=0.5,
        occupied=Toy().occupied(),
        loss=lambda point: 0.0,
        load=lambda point: 100 - sum(density < 1 for density in point.densities.values()),
    )
    assert found.load == 97


def test_search_ends_within_the_tolerance_and_close_to_it():
    rounds = search(Family.JOINT)
    best = min((found for found in rounds if found.kept), key=lambda found: found.cycles)
    assert [found.number for found in rounds] == list(range(1, 23))
    assert 99.0 <= best.accuracy_percent <= 99.1


def test_search_comes_close_to_the_optimum_of_a_solver_that_knows_the_functions():
    toy = Toy()

    def point(free):
        shares = 1 / (1 + np.exp(-free))
        return Point(
            densities=dict(zip("abc", shares[:3], strict=True)),
            rates=dict(zip("ab", shares[3:], strict=True)),
        )

    optimum = minimize(
        lambda free: toy.cycles(point(free)),
        np.ones(5),
        constraints={"type": "ineq", "fun": lambda free: 0.1 - toy.loss(point(free))},
    )
    assert optimum.success
    assert optimum.fun <= fewest(search(Family.JOINT)) <= 1.05 * optimum.fun


def test_more_freedom_takes_fewer_cycles():
    cycles = [fewest(search(family)) for family in (Family.JOINT, Family.ONE_RATE, Family.UNIFORM)]
    assert cycles == sorted(cycles)
    assert cycles[0] < 0.85 * cycles[2]


def test_larger_tolerance_takes_fewer_cycles():
    cycles = [fewest(search(Family.JOINT, tolerance=tolerance)) for tolerance in (0.3, 1.0, 3.0)]
    assert cycles[0] > cycles[1] > cycles[2]


def test_weights_go_first_while_the_network_does_not_fit():
    rounds = search(Family.JOINT, toy=Toy(resident=1500.0), rounds=8, tolerance=8.0)
    kinds = [found.load for found in rounds]
    assert kinds[0] is Load.WEIGHTS
    assert kinds[-1] is Load.CYCLES
    assert kinds == sorted(kinds, reverse=True)
    for found in rounds:
        assert (found.weights > 1500) == (found.cycles == inf)


def test_network_that_is_not_kept_is_undone_and_steps_become_finer():
    toy = Toy()
    rounds = search(Family.JOINT, toy=toy)
    kept = [found for found in rounds if found.kept]
    assert len(kept) < len(rounds)
    assert toy.point == kept[-1].point
    for before, after in pairwise(rounds):
        bolder, finer = max(0.5, before.ratio**1.4), min(0.97, before.ratio**0.5)
        assert after.ratio == (bolder if before.kept else finer)


def test_search_goes_on_where_it_was_stopped():
    whole = search(Family.JOINT, rounds=12)
    toy = Toy()
    first = search(Family.JOINT, rounds=5, toy=toy)
    groups = groups_of(Family.JOINT, INPUTS)
    config = TuneConfig(tolerance_percent=1.0, rounds=12)
    rest = list(run_rounds(toy, groups, config, floor_percent=99.0, done=first))
    assert first + rest == whole


def test_round_survives_being_written():
    for found in search(Family.JOINT, toy=Toy(resident=1500.0), rounds=4, tolerance=8.0):
        assert Round.from_dict(found.as_dict()) == found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tolerance_percent", -0.1),
        ("rounds", 0),
        ("epochs", 0),
        ("final_epochs", -1),
        ("ratio", 1.0),
        ("images", 0),
        ("cycle_images", 0),
    ],
)
def test_impossible_budget_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"TuneConfig\.{name} must be between"):
        TuneConfig(**{name: value})
