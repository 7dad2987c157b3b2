from dataclasses import replace
from math import inf

import numpy as np
import pytest
import torch

from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler import CompileError
from jpnet_sw.data import load_dataset
from jpnet_sw.recipe.images import split_held_out
from jpnet_sw.recipe.progress import TrainingProgress
from jpnet_sw.recipe.stages import Run
from jpnet_sw.recipe.state import Stage, TrainingState
from jpnet_sw.tuning.network import TunedNetwork, train_epochs
from jpnet_sw.tuning.rounds import Load, TuneConfig
from jpnet_sw.tuning.space import Point

CONFIG = TuneConfig(images=100, cycle_images=8)
SPARSE = Point(densities={"fc1": 0.1, "fc2": 0.05, "fc3": 0.5}, rates={"fc1": 0.2, "fc2": 0.1})


def pairs(network, dealing, images):
    """Cycles of one multiplier that never waits."""
    traces = network.run(images)
    return sum(float(trace.macs_effective.mean()) for trace in traces.values())


@pytest.fixture
def run(short_recipe):
    device = torch.device("cpu")
    state = TrainingState.begin(short_recipe, seed=3, image_shape=(1, 8, 8), device=device)
    state.start_teacher()
    state.stage = Stage.TOP_N
    return Run(
        state=state,
        images=split_held_out(load_dataset("digits"), short_recipe, device),
        progress=TrainingProgress(short_recipe, quiet=True),
        test_accuracy=lambda: 0.0,
    )


def contents(state):
    values = [*state.model.state_dict().values(), *state.masks.masks.values()]
    return [value.clone() for value in values]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_layers_read_the_filters_before_them(run):
    assert TunedNetwork(run, CONFIG, pairs).inputs == {"fc1": (), "fc2": ("fc1",), "fc3": ("fc2",)}


def test_filters_that_the_recipe_leaves_out_are_not_searched(run):
    modes = {"fc2": ThresholdMode.NONE}
    run.state.recipe = replace(
        run.state.recipe, top_n=replace(run.state.recipe.top_n, layer_modes=modes)
    )
    network = TunedNetwork(run, CONFIG, pairs)
    assert set(network.point.rates) == {"fc1"}


def test_measuring_a_combination_leaves_the_network_as_it_was(run):
    network = TunedNetwork(run, CONFIG, pairs)
    before = contents(run.state)
    loss = network.loss(network.point)
    assert network.loss(SPARSE) != loss
    assert network.load(SPARSE, Load.CYCLES) < network.load(network.point, Load.CYCLES)
    assert same(before, contents(run.state))
    assert network.loss(network.point) == loss
    assert all(
        layer.top_n is None or layer.top_n.top_n.mode is ThresholdMode.NONE
        for layer in run.state.layers
    )


def test_loss_and_loads_are_those_of_the_combination_once_it_is_trained(run):
    network = TunedNetwork(run, replace(CONFIG, epochs=0.01), pairs)
    run.state.recipe = replace(
        run.state.recipe, prune=replace(run.state.recipe.prune, learning_rate=1e-30)
    )
    loss, cycles = network.loss(SPARSE), network.load(SPARSE, Load.CYCLES)
    weights = network.load(SPARSE, Load.WEIGHTS)
    network.train(SPARSE, 1)
    living = {name: int(mask.sum()) for name, mask in run.state.masks.masks.items()}
    assert living == {
        name: int(SPARSE.densities[name] * mask.numel())
        for name, mask in run.state.masks.masks.items()
    }
    assert network.load(SPARSE, Load.WEIGHTS) == sum(living.values()) == weights
    # A step of Adam is as long as its rate, up to the 1e-6 that every schedule ends with.
    assert network.loss(SPARSE) == pytest.approx(loss, rel=1e-3)
    assert network.load(SPARSE, Load.CYCLES) == pytest.approx(cycles, rel=0.02)


def test_occupied_is_the_share_before_the_filter(run):
    network = TunedNetwork(run, CONFIG, pairs)
    before = network.occupied()
    run.state.rates = {"fc1": 0.01, "fc2": 1.0}
    run.state.set_filters()
    assert 0.2 < before["fc1"] < 0.8
    assert network.occupied()["fc1"] == before["fc1"]


def test_undone_training_leaves_no_trace(run):
    network = TunedNetwork(run, replace(CONFIG, epochs=0.1), pairs)
    network.train(replace(SPARSE, densities=dict.fromkeys(SPARSE.densities, 0.5)), 1)
    point, before = network.point, contents(run.state)
    cycles = network.load(point, Load.CYCLES)
    network.train(SPARSE, 2)
    assert network.point == SPARSE
    network.undo()
    assert network.point == point
    assert same(before, contents(run.state))
    assert network.load(point, Load.CYCLES) == cycles
    assert run.state.rates == point.rates


def test_network_that_does_not_fit_has_no_cycles_but_is_refused_at_once(run):
    def refuse(network, dealing, images):
        raise CompileError("acc_depth")

    network = TunedNetwork(run, CONFIG, refuse)
    assert network.load(network.point, Load.CYCLES) == inf
    with pytest.raises(CompileError, match="acc_depth"):
        network.check_fits()


def test_cycles_are_counted_on_held_out_images_and_dealt_by_training_images(run):
    seen = {}

    def watch(network, dealing, images):
        seen.update(dealing=dealing, images=images)
        return 1.0

    network = TunedNetwork(run, CONFIG, watch)
    network.load(network.point, Load.CYCLES)
    data = load_dataset("digits")
    codes = {image.tobytes() for image in np.rint(data.train_images / 255 * 127).astype(np.int8)}
    for name, images in seen.items():
        assert images.shape == (8, 1, 8, 8)
        assert images.dtype == np.int8
        assert {image.tobytes() for image in images} <= codes, name
    assert not {i.tobytes() for i in seen["dealing"]} & {i.tobytes() for i in seen["images"]}


@pytest.mark.parametrize(("epochs", "steps"), [(0.25, 4), (1, 18), (1.5, 26), (2, 36)])
def test_share_of_an_epoch_takes_as_large_a_share_of_its_steps(run, monkeypatch, epochs, steps):
    taken = []
    optimiser = run.state.start_optimiser(1.0)
    monkeypatch.setattr(
        type(optimiser), "step", lambda self, closure=None: taken.append(self.param_groups[0]["lr"])
    )
    assert len(run.images.images) // run.state.recipe.batch_size == 18
    train_epochs(run, name="test", epochs=epochs, learning_rate=1.0)
    assert len(taken) == steps
    assert taken[-1] < 0.2
