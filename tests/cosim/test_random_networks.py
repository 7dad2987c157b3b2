"""Random networks through the generated Verilog of the smallest preset."""

from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.map_samples import (
    overhanging_network,
    random_convolutional_network,
    random_maps,
)
from jpnet_cosim.runner import BusModel, run_native
from jpnet_cosim.scoreboard import compare, compare_counters
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import preset
from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.network import IntegerNetwork, Layer, LayerOp
from jpnet_spec.schedule import Schedule
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler import CompileError, compile_network

CONFIG = preset("tiny")
SEEDS = range(100)
IMAGES = 3


@cache
def draw(seed: int) -> tuple[IntegerNetwork, Schedule, np.ndarray]:
    """Return the seed's first network that the preset's memories hold, and images.

    Every tenth seed takes the first one with a layer that is cut into tiles, every fifth a layer
    whose pooling windows hang over the last row that the accumulators hold.
    """
    for attempt in count():
        rng = np.random.default_rng([seed, attempt])
        if seed % 5 == 2:
            network = overhanging_network(rng, lanes=CONFIG.lanes, accumulators=CONFIG.acc_depth)
        else:
            network = random_convolutional_network(rng, largest=14, channels=12)
        images = random_maps(rng, 2 * IMAGES if seed % 5 == 2 else IMAGES, network.input_shape)
        calibration = images if seed % 2 else None
        try:
            schedule = compile_network(network, CONFIG, calibration)
        except CompileError:
            continue
        if seed % 10 or any(plan.instructions > 1 for plan in schedule.layers):
            return network, schedule, images
    raise AssertionError


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_are_exact_and_take_the_cycles_predicted(
    emitted: Callable[[AcceleratorConfig], Path], cache_dir: Path, seed: int
) -> None:
    network, schedule, images = draw(seed)
    run = run_native(
        emitted(CONFIG),
        schedule=schedule,
        images=images,
        cache_dir=cache_dir,
        bus=BusModel(stall_percent=25 * (seed % 3), stall_seed=seed),
        optimise=False,
    )
    traces = network.run(images)
    assert run.error is ErrorCode.NONE
    comparison = compare(schedule, traces, run)
    assert comparison.mismatches == 0, str(comparison)
    assert compare_counters(network, schedule, traces, run, images) == {}
    if seed % 3 == 0:
        predicted = CycleModel(schedule, traces, images).run().counters
        assert predicted[Counter.MACS] == run.counters[Counter.MACS]
        cycles = run.counters[Counter.CYCLES]
        assert abs(predicted[Counter.CYCLES] - cycles) <= 0.01 * cycles


@pytest.mark.parametrize("seed", [36, 57])
def test_jobs_with_few_counted_rows_rest_before_their_drain_as_predicted(
    emitted: Callable[[AcceleratorConfig], Path], cache_dir: Path, seed: int
) -> None:
    network, schedule, images = draw(seed)
    run = run_native(
        emitted(CONFIG), schedule=schedule, images=images, cache_dir=cache_dir, optimise=False
    )
    predicted = CycleModel(schedule, network.run(images), images).run().counters
    assert predicted == {counter: run.counters[counter] for counter in predicted}


def overhangs(layer: Layer, schedule: Schedule) -> bool:
    """Return whether a layer's windows hang over the last row that the accumulators hold."""
    pool, convolution = layer.pool, layer.convolution
    if pool is None or convolution is None or pool.size[0] <= pool.stride:
        return False
    height, width = convolution.output_size
    line = width * -(-len(layer.weight) // CONFIG.lanes)
    share = CONFIG.acc_depth * CONFIG.contexts // schedule.in_flight
    return pool.padding[1] > 0 and height % 2 == 0 and (height + 1) * line > share >= height * line


def test_the_seeds_draw_every_kind_of_layer() -> None:
    found: set[object] = set()
    overhanging = 0
    for seed in SEEDS:
        network, schedule, _ = draw(seed)
        for layer, plan in zip(network.layers, schedule.layers, strict=True):
            convolution, pool = layer.convolution, layer.pool
            overhanging += schedule.in_flight > 1 and overhangs(layer, schedule)
            found |= {layer.op, ThresholdMode(layer.top_n.mode)}
            found |= {"tiles"} if plan.instructions > 1 else set()
            found |= {"empty"} if not layer.weight.any() else set()
            found |= {"full"} if np.mean(layer.weight != 0) > 0.99 else set()
            if convolution is not None:
                found |= {("stride", convolution.window.stride)}
                found |= {"padding"} if any(convolution.window.padding) else set()
                found |= {"groups"} if 1 < convolution.channel_groups else set()
            if pool is not None:
                found |= {("pool", pool.size[0], pool.stride)}
    # Affine functions are second outputs of residual networks, which have tests of their own.
    wanted: set[object] = set(LayerOp) - {LayerOp.AFFINE}
    wanted |= {*ThresholdMode, "tiles", "padding", "groups", "empty", "full"}
    wanted |= {("stride", stride) for stride in (1, 2, 4)}
    wanted |= {("pool", *pool) for pool in ((2, 1), (2, 2), (3, 1), (3, 2))}
    assert wanted <= found
    assert overhanging >= 15
