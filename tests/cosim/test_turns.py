"""Clusters that take other places in each context, through the generated Verilog."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.map_samples import random_convolutional_network, random_maps
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.residual_samples import random_residual_network
from jpnet_cosim.runner import BusModel, run_native
from jpnet_cosim.samples import CLUSTERED
from jpnet_cosim.scoreboard import compare, compare_counters
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.instruction import LayerFlag
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.schedule import Schedule
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler import CompileError, compile_network

Emitted = Callable[[AcceleratorConfig], Path]

SEEDS = range(12)


def pools_of(network: IntegerNetwork) -> set[bool]:
    """Return whether windows overlap in the pooled maps that have rows for every cluster."""
    return {
        layer.pool.size[0] > layer.pool.stride
        for layer in network.layers
        if layer.pool is not None
        and layer.convolution is not None
        and layer.convolution.output_size[0] >= CLUSTERED.clusters * layer.pool.stride
    }


def draw(seed: int) -> tuple[IntegerNetwork, Schedule]:
    """Return a network that fits, for odd seeds a residual one, for even ones one that pools.

    Every fourth has windows that overlap.
    """
    for attempt in count():
        rng = np.random.default_rng([seed, attempt, 16])
        if seed % 2:
            network = random_residual_network(rng)
        else:
            network = random_convolutional_network(rng, largest=16)
            if (seed % 4 == 0) not in pools_of(network):
                continue
        try:
            return network, compile_network(
                network, CLUSTERED, in_flight=(4, 4, 2, 2, 4, 1)[seed % 6]
            )
        except CompileError:
            continue
    raise AssertionError


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_are_exact_and_take_the_cycles_predicted(
    emitted: Emitted, cache_dir: Path, seed: int
) -> None:
    network, schedule = draw(seed)
    images = random_maps(np.random.default_rng(seed), 7, network.input_shape)
    run = run_native(
        emitted(CLUSTERED),
        schedule=schedule,
        images=images,
        cache_dir=cache_dir,
        bus=BusModel(stall_percent=20 if seed % 4 == 2 else 0, stall_seed=seed),
        optimise=False,
    )
    traces = network.run(images)
    assert run.error is ErrorCode.NONE
    comparison = compare(schedule, traces, run)
    assert comparison.mismatches == 0, str(comparison)
    assert compare_counters(network, schedule, traces, run, images) == {}
    found = CycleModel(schedule, traces, images).run().counters
    assert found[Counter.MACS] == run.counters[Counter.MACS]
    if seed % 2:
        assert found == {counter: run.counters[counter] for counter in found}
    elif seed % 4 == 0:
        cycles = run.counters[Counter.CYCLES]
        assert abs(found[Counter.CYCLES] - cycles) <= 0.01 * cycles


def test_the_seeds_draw_what_the_drain_turns() -> None:
    assert CLUSTERED.turns == (0, 2, 1, 3)
    flags, modes, counts, overlaps = LayerFlag(0), set(), set(), set()
    for seed in SEEDS:
        network, schedule = draw(seed)
        editor = ProgramEditor(schedule.program)
        for number in range(len(schedule.instruction_layers)):
            flags |= LayerFlag(editor.field(number, "flags"))
        counts.add(schedule.in_flight)
        modes |= {layer.top_n.mode for layer in network.layers}
        overlaps |= pools_of(network)
    wanted = LayerFlag.CARRIED | LayerFlag.SUMMED | LayerFlag.SECOND | LayerFlag.GATHER
    assert wanted in flags
    assert counts == {1, 2, 4}
    assert {ThresholdMode.EXACT, ThresholdMode.SAMPLED} <= modes
    assert overlaps == {False, True}
