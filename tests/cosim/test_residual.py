"""Residual networks, executed word by word and through the generated Verilog."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.map_samples import random_maps
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.program_model import ProgramModel
from jpnet_cosim.residual_samples import (
    RESIDENT_RESIDUAL,
    STREAMED_RESIDUAL,
    ResidualShape,
    random_residual_network,
    residual_network,
)
from jpnet_cosim.runner import BusModel, run_native
from jpnet_cosim.scoreboard import Subject, compare, compare_counters
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.instruction import LayerFlag
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.schedule import Schedule
from jpnet_sw.compiler import CompileError, compile_network

Emitted = Callable[[AcceleratorConfig], Path]

WIDE = AcceleratorConfig(
    lanes=4,
    groups=1,
    clusters=4,
    weight_depth=8192,
    acc_depth=64,
    act_depth=256,
    param_depth=256,
    program_depth=128,
)
WORK = LayerFlag.CARRIED, LayerFlag.SUMMED, LayerFlag.SECOND


def flags_of(schedule: Schedule) -> LayerFlag:
    """Return the flags that any instruction has."""
    program = ProgramEditor(schedule.program)
    found = LayerFlag(0)
    for number in range(len(schedule.instruction_layers)):
        found |= LayerFlag(program.field(number, "flags"))
    return found


def execute(network: IntegerNetwork, schedule: Schedule, images: np.ndarray) -> None:
    """Run the program on the model and compare every tensor and threshold."""
    outputs = iter(
        ProgramModel(schedule.program, schedule.config).run(schedule.layout_images(images))
    )
    traces = network.run(images)
    seconds = {plan.second_of for plan in schedule.layers}
    for index, plan in enumerate(schedule.layers):
        if plan.second_of is None:
            output = next(outputs)
        tensor = output.tensor if plan.second_of is None else output.second
        assert tensor is not None
        expected = traces[plan.name].tensor.reshape(len(images), -1)
        assert np.array_equal(schedule.logical(index, tensor), expected), plan.name
        if plan.name not in seconds:
            assert np.array_equal(output.threshold, traces[plan.name].threshold), plan.name
    assert next(outputs, None) is None


@pytest.mark.parametrize("name", ["resident", "streamed", "wide"])
def test_programs_compute_what_the_networks_compute(name: str) -> None:
    config = {"resident": RESIDENT_RESIDUAL, "streamed": STREAMED_RESIDUAL, "wide": WIDE}[name]
    found, counts = LayerFlag(0), set()
    for seed in range(9):
        rng = np.random.default_rng([seed, *name.encode()])
        network = random_residual_network(rng)
        images = random_maps(rng, 3, network.input_shape)
        for in_flight in (1, config.contexts):
            try:
                schedule = compile_network(network, config, in_flight=in_flight)
            except CompileError:
                continue
            execute(network, schedule, images)
            found |= flags_of(schedule)
            counts.add(schedule.in_flight)
    assert all(flag in found for flag in WORK)
    assert counts == {1, config.contexts}


def test_random_networks_are_exact_through_the_verilog(emitted: Emitted, cache_dir: Path) -> None:
    resident, streamed, counts = LayerFlag(0), LayerFlag(0), set()
    for seed in range(16):
        rng = np.random.default_rng([seed, 7])
        network = random_residual_network(rng)
        images = random_maps(rng, 5, network.input_shape)
        in_flight = 1 + seed % 2
        schedule = compile_network(network, STREAMED_RESIDUAL, in_flight=in_flight)
        result = run_native(
            emitted(STREAMED_RESIDUAL),
            schedule=schedule,
            images=images,
            cache_dir=cache_dir,
            bus=BusModel(stall_percent=30 * (seed % 3), stall_seed=seed),
            optimise=False,
        )
        assert result.error is ErrorCode.NONE
        traces = network.run(images)
        comparison = compare(schedule, traces, result)
        assert comparison.mismatches == 0, str(comparison)
        assert compare_counters(network, schedule, traces, result, images) == {}
        counts.add(schedule.in_flight)
        if schedule.stream_blocks:
            streamed |= flags_of(schedule)
        else:
            resident |= flags_of(schedule)
    assert all(flag in resident and flag in streamed for flag in WORK)
    assert counts == {1, 2}


@pytest.mark.parametrize("second", [False, True])
def test_a_wrong_value_of_either_tensor_is_located(
    second: bool, emitted: Emitted, cache_dir: Path
) -> None:
    rng = np.random.default_rng(3)
    shape = ResidualShape(size=6, stages=(4,), blocks=1, pre_activation=True)
    network = residual_network(rng, shape)
    schedule = compile_network(network, STREAMED_RESIDUAL)
    images = random_maps(rng, 2, network.input_shape)
    result = run_native(
        emitted(STREAMED_RESIDUAL),
        schedule=schedule,
        images=images,
        cache_dir=cache_dir,
        optimise=False,
    )
    layer = int(np.flatnonzero(result.rows["second"])[0])
    mine = result.rows["layer"] == result.rows["layer"][layer]
    index = np.flatnonzero(mine & (result.rows["second"] == second))[5]
    result.rows["acts"][index, 0] ^= 4
    first = compare(schedule, network.run(images), result).first
    assert first is not None
    assert first.subject is Subject.TENSOR
    assert first.layer == ("layer1.0.active" if second else "layer1.0.conv2")


@pytest.mark.slow
@pytest.mark.parametrize("pre_activation", [True, False])
def test_resnet20_on_edge16(pre_activation: bool, emitted: Emitted, cache_dir: Path) -> None:
    rng = np.random.default_rng(0)
    shape = ResidualShape(size=32, stages=(16, 32, 64), blocks=3, pre_activation=pre_activation)
    network = residual_network(rng, shape)
    config = PRESETS["edge16"]
    schedule = compile_network(network, config)
    images = random_maps(rng, 4, network.input_shape)
    result = run_native(
        emitted(config),
        schedule=schedule,
        images=images,
        cache_dir=cache_dir,
        bus=BusModel(latency_cycles=30, stall_percent=20),
        optimise=False,
    )
    traces = network.run(images)
    comparison = compare(schedule, traces, result)
    assert comparison.mismatches == 0, str(comparison)
    assert compare_counters(network, schedule, traces, result, images) == {}
    macs = sum(int(trace.macs_effective.sum()) for trace in traces.values())
    assert macs / config.mac_units / result.counters[Counter.CYCLES] > 0.8
