"""Winner rates of all layers at once: a tolerance is spent where it saves the most MACs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jpnet_spec.topn import ThresholdMode, TopN, winners_for_rate
from jpnet_sw.sparsity.choice import solve_choice
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["JointChoice", "Measurement", "choose_rates_jointly"]

_HALVINGS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A network on the held-out images.

    Parameters
    ----------
    accuracy_percent
        Share of right answers.
    loss
        Mean cross entropy: finer than the accuracy, so it ranks what the accuracy cannot tell
        apart.
    macs
        Effective MACs per image.
    """

    accuracy_percent: float
    loss: float
    macs: float


@dataclass(frozen=True, kw_only=True, slots=True)
class JointChoice:
    """What the search found.

    Parameters
    ----------
    rates
        Layer name to winner rate, 1 without a filter.
    unfiltered, chosen
        The network without filters and with all chosen ones.
    budget
        Harm that the chosen rates may add up to.
    points
        Every single-layer measurement.
    """

    rates: dict[str, float]
    unfiltered: Measurement
    chosen: Measurement
    budget: float
    points: tuple[dict[str, Any], ...]


def _harm(before: Measurement, after: Measurement) -> float:
    drop = max(0.0, before.accuracy_percent - after.accuracy_percent)
    return drop + max(0.0, after.loss - before.loss)


def choose_rates_jointly(
    filters: Mapping[str, TopNFilter],
    elements: Mapping[str, int],
    rates: Sequence[float],
    tolerance_percent: float,
    measure: Callable[[], Measurement],
) -> JointChoice:
    """Choose all winner rates together.

    Objective: least effective MACs of the network on held-out images, with all filters on and
    before any fine-tuning, while its accuracy is at most the tolerance below the unfiltered
    network's. Each layer and candidate is measured alone. A solver spends a budget of harm where
    it saves the most MACs, both taken to add up over layers; harm is the drop of accuracy in
    percentage points plus the rise of the loss, each at least 0 and at least that of the layer's
    next higher rate. The budget is the largest, by bisection, whose choice keeps the tolerance when
    it is measured together.

    Parameters
    ----------
    filters
        Layer name to its filter; they are left switched off.
    elements
        Layer name to the elements of its output tensor.
    rates
        Candidates, each above 0 and at most 1.
    tolerance_percent
        Largest drop of accuracy of all filters together, in percentage points.
    measure
        Measures the network as it stands.
    """
    names = list(filters)
    candidates = [1.0, *sorted((rate for rate in set(rates) if rate < 1), reverse=True)]

    def measured(choice: Mapping[str, float]) -> Measurement:
        for name, module in filters.items():
            rate = choice.get(name, 1.0)
            winners = winners_for_rate(rate, elements[name])
            module.top_n = TopN() if rate == 1 else TopN(mode=ThresholdMode.EXACT, winners=winners)
        found = measure()
        for module in filters.values():
            module.top_n = TopN()
        return found

    unfiltered = measured({})
    points = []
    costs = np.zeros((len(names), len(candidates)))
    harms = np.zeros_like(costs)
    for row, name in enumerate(names):
        for column, rate in enumerate(candidates[1:], start=1):
            alone = measured({name: rate})
            points.append({"layer": name, "rate": rate, **asdict(alone)})
            costs[row, column] = alone.macs - unfiltered.macs
            harms[row, column] = max(harms[row, column - 1], _harm(unfiltered, alone))
    floor = unfiltered.accuracy_percent - tolerance_percent
    best: tuple[dict[str, float], Measurement, float] = ({}, unfiltered, 0.0)
    low, high = 0.0, float(harms.max(axis=1).sum()) if names else 0.0
    budget = high
    for _ in range(_HALVINGS if names else 0):
        solved = solve_choice(list(costs), list(harms), budget)
        assert solved is not None  # no filter does no harm
        choice = {name: candidates[column] for name, column in zip(names, solved, strict=True)}
        together = measured(choice)
        if together.accuracy_percent >= floor:
            low = budget
            if together.macs < best[1].macs:
                best = (choice, together, budget)
        else:
            high = budget
        if low >= high:
            break
        budget = (low + high) / 2
    return JointChoice(
        rates={name: best[0].get(name, 1.0) for name in names},
        unfiltered=unfiltered,
        chosen=best[1],
        budget=best[2],
        points=tuple(points),
    )
