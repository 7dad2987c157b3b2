"""Layers whose inputs are cut: on the model of programs, and through the generated Verilog."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.map_samples import random_convolutional_network, random_maps
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.program_model import ProgramModel
from jpnet_cosim.residual_samples import ResidualShape, residual_network
from jpnet_cosim.runner import BusModel, run_native
from jpnet_cosim.samples import CLUSTERED, GEOMETRIES, SMALL
from jpnet_cosim.scoreboard import compare, compare_counters
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.instruction import LayerFlag
from jpnet_spec.network import IntegerNetwork, LayerOp
from jpnet_spec.schedule import Schedule
from jpnet_sw.compiler import CompileError, compile_network

WIDE = replace(
    SMALL,
    weight_depth=4096,
    pointer_depth=4096,
    acc_depth=1024,
    act_depth=2048,
    param_depth=1024,
    program_depth=1024,
)
CONFIGS = {
    "divided": GEOMETRIES["divided"],
    "clusters": CLUSTERED,
}
SEEDS = range(8)


def spans_of(schedule: Schedule) -> list[int]:
    """Return the instructions that keep sums of some of what their layer multiplies."""
    editor = ProgramEditor(schedule.program)
    return [
        index
        for index in range(len(schedule.instruction_layers))
        if editor.field(index, "flags") & LayerFlag.KEEP_SUMS
        and not editor.field(index, "first_sum")
    ]


def random_wide_network(rng: np.random.Generator, *, residual: bool) -> IntegerNetwork:
    """Return a network some of whose maps have pixels of several words."""
    if not residual:
        return random_convolutional_network(rng, largest=8, channels=40)
    first = int(rng.integers(6, 20))
    shape = ResidualShape(
        size=int(rng.integers(3, 7)),
        channels=2,
        stages=(first, first + int(rng.integers(0, 8))),
        blocks=1,
        pre_activation=bool(rng.random() < 0.5),
        weight_density=0.5,
    )
    return residual_network(rng, shape)


def with_least_memories(
    network: IntegerNetwork, config: AcceleratorConfig, *depths: str
) -> AcceleratorConfig:
    """Return the configuration with the smallest memories that will do, one after the other."""
    for depth in depths:
        while getattr(config, depth) > 16:
            smaller = replace(config, **{depth: getattr(config, depth) // 2})
            try:
                compile_network(network, smaller)
            except CompileError:
                break
            config = smaller
    return config


@pytest.mark.parametrize(
    "seed",
    [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 24))],
)
def test_programs_with_cut_inputs_are_exact(seed: int) -> None:
    rng = np.random.default_rng([seed, 3])
    config = replace(
        WIDE,
        clusters=int(rng.choice([1, 2, 4])),
        groups=int(rng.choice([1, 2])),
        lanes=int(rng.choice([1, 2, 4])),
    )
    network = random_wide_network(rng, residual=seed % 4 == 3)
    depths = ("pointer_depth", "weight_depth", "acc_depth")[: 2 + (seed % 3 == 0)]
    schedule = compile_network(network, with_least_memories(network, config, *depths))
    images = random_maps(rng, 2, network.input_shape)
    outputs = iter(
        ProgramModel(schedule.program, schedule.config).run(schedule.layout_images(images))
    )
    traces = network.run(images)
    for index, plan in enumerate(schedule.layers):
        if plan.second_of is None:
            output = next(outputs)
        tensor = output.tensor if plan.second_of is None else output.second
        expected = traces[plan.name].tensor.reshape(len(images), -1)
        assert tensor is not None
        assert np.array_equal(schedule.logical(index, tensor), expected), plan.name


@cache
def draw(name: str, seed: int) -> tuple[IntegerNetwork, Schedule]:
    """Return the seed's first network with cut inputs that the memories hold."""
    for attempt in count():
        rng = np.random.default_rng([seed, attempt, *name.encode()])
        network = random_wide_network(rng, residual=seed % 4 == 2)
        try:
            schedule = compile_network(network, CONFIGS[name])
        except CompileError:
            continue
        if spans_of(schedule):
            return network, schedule
    raise AssertionError


@pytest.mark.parametrize(
    "seed", [*SEEDS, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 24))]
)
@pytest.mark.parametrize("name", list(CONFIGS))
def test_cut_inputs_are_exact_and_take_the_cycles_predicted(
    emitted: Callable[[AcceleratorConfig], Path], cache_dir: Path, name: str, seed: int
) -> None:
    network, schedule = draw(name, seed)
    images = random_maps(np.random.default_rng(seed), 5, network.input_shape)
    # Images that come while others are drained wait for the bank, which the model leaves out.
    together = (2, len(images), 1, len(images))[seed % 4]
    run = run_native(
        emitted(CONFIGS[name]),
        schedule=schedule,
        images=images,
        cache_dir=cache_dir,
        bus=BusModel(stall_percent=25 * (seed % 2), stall_seed=seed),
        images_per_run=together,
        optimise=False,
    )
    traces = network.run(images)
    assert run.error is ErrorCode.NONE
    comparison = compare(schedule, traces, run)
    assert comparison.mismatches == 0, str(comparison)
    assert compare_counters(network, schedule, traces, run, images) == {}
    if seed % 2 == 0:
        model = CycleModel(schedule, traces, images)
        for number, record in enumerate(run.runs):
            predicted = model.run(number * together, together).counters
            for counter in (Counter.CYCLES, Counter.MACS):
                assert predicted[counter] == record.counters[counter]
            # Of a lane that waits while a list table is written the cause may be another.
            lane_cycles = predicted[Counter.CYCLES] * schedule.config.mac_units
            for counter in STALL_COUNTERS:
                assert abs(predicted[counter] - record.counters[counter]) <= 0.005 * lane_cycles


@pytest.mark.parametrize("name", list(CONFIGS))
def test_the_seeds_cut_every_kind_of_layer(name: str) -> None:
    found: set[object] = set()
    for seed in SEEDS:
        network, schedule = draw(name, seed)
        editor = ProgramEditor(schedule.program)
        layers = {layer.name: layer for layer in network.layers}
        for index in spans_of(schedule):
            plan = schedule.layers[schedule.instruction_layers[index]]
            layer = layers[plan.name]
            found |= {layer.op}
            found |= {"pooled"} if layer.pool is not None else set()
            found |= {"divided"} if plan.divided else set()
            found |= {"added"} if layer.shortcut is not None else set()
            found |= {"streamed"} if editor.field(index, "flags") & LayerFlag.NEXT_BLOCK else set()
    wanted: set[object] = {LayerOp.CONVOLUTION, LayerOp.AVERAGE_POOL, LayerOp.FULLY_CONNECTED}
    wanted |= {"pooled", "added", "streamed", *(["divided"] if name == "divided" else [])}
    assert wanted <= found
