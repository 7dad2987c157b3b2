"""Networks whose lists are streamed, through the generated Verilog."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.map_samples import random_convolutional_network, random_maps
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.runner import BusModel, MemoryMap, NativeRun, run_native
from jpnet_cosim.samples import (
    CLUSTERED,
    DIMS,
    GEOMETRIES,
    MODES,
    STREAMED,
    random_images,
    random_network,
)
from jpnet_cosim.scoreboard import compare, compare_counters
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_sw.compiler import CompileError, compile_network

Emitted = Callable[[AcceleratorConfig], Path]


@pytest.fixture
def job(rng: np.random.Generator) -> Job:
    network = random_network(rng)
    schedule = compile_network(network, STREAMED)
    assert schedule.stream_blocks >= 6
    return Job(network=network, schedule=schedule, images=random_images(rng, 11))


def run(job: Job, verilog: Path, cache: Path, bus: BusModel, per_run: int | None) -> NativeRun:
    return run_native(
        verilog,
        schedule=job.schedule,
        images=job.images,
        cache_dir=cache,
        bus=bus,
        images_per_run=per_run,
        optimise=False,
    )


def assert_right(job: Job, result: NativeRun) -> None:
    traces = job.network.run(job.images)
    assert result.error is ErrorCode.NONE
    comparison = compare(job.schedule, traces, result)
    assert comparison.mismatches == 0, str(comparison)
    if all(layer.convolution is None for layer in job.network.layers):
        wrong = compare_counters(job.network, job.schedule, traces, result, job.images)
        assert wrong == {}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("per_run", [None, 1, 5])
def test_streamed_vectors_are_right_under_stalls(
    job: Job, emitted: Emitted, cache_dir: Path, seed: int, per_run: int | None
) -> None:
    bus = BusModel(latency_cycles=16 * seed, stall_percent=20 * seed, stall_seed=seed)
    assert_right(job, run(job, emitted(STREAMED), cache_dir, bus, per_run))


@pytest.mark.parametrize("stall", [0, 30])
def test_wide_entries_over_a_narrow_bus_are_right(
    rng: np.random.Generator, emitted: Emitted, cache_dir: Path, stall: int
) -> None:
    network = random_network(rng, dims=(24, 40, 600, 9), modes=MODES[:3])
    config = GEOMETRIES["narrow"]
    schedule = compile_network(network, config)
    blocks = ProgramEditor(schedule.program).blocks
    assert {section.wide for block in blocks for section in block.sections} == {True, False}
    job = Job(network=network, schedule=schedule, images=random_images(rng, 3, 24))
    result = run(job, emitted(config), cache_dir, BusModel(stall_percent=stall), None)
    assert_right(job, result)
    if not stall:
        found = CycleModel(schedule, network.run(job.images), job.images).run().counters
        assert found == {counter: result.counters[counter] for counter in found}


def test_networks_of_any_size_are_right(
    rng: np.random.Generator, emitted: Emitted, cache_dir: Path
) -> None:
    streamed = 0
    for seed in range(12):
        dims = [*rng.integers(8, 60, int(rng.integers(2, 5))).tolist(), int(rng.integers(2, 20))]
        modes = [MODES[int(index)] for index in rng.integers(0, 4, len(dims) - 1)]
        network = random_network(rng, dims=dims, modes=modes)
        images = random_images(rng, int(rng.integers(1, 10)), dims[0])
        job = Job(network=network, schedule=compile_network(network, STREAMED), images=images)
        streamed += job.schedule.stream_blocks > 0
        bus = BusModel(stall_percent=30, stall_seed=seed)
        assert_right(job, run(job, emitted(STREAMED), cache_dir, bus, None))
    assert streamed > 6


def test_streamed_maps_are_right(emitted: Emitted, cache_dir: Path) -> None:
    streamed = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        network = random_convolutional_network(rng, largest=8, channels=40)
        try:
            schedule = compile_network(network, CLUSTERED)
        except CompileError:
            continue
        if not schedule.stream_blocks:
            continue
        streamed += 1
        images = random_maps(rng, int(rng.integers(1, 5)), network.input_shape)
        job = Job(network=network, schedule=schedule, images=images)
        bus = BusModel(stall_percent=20, stall_seed=seed)
        assert_right(job, run(job, emitted(CLUSTERED), cache_dir, bus, None))
    assert streamed >= 5


def test_waiting_for_blocks_is_counted_as_memory(
    job: Job, emitted: Emitted, cache_dir: Path
) -> None:
    fast, slow = (
        run(job, emitted(STREAMED), cache_dir, BusModel(stall_percent=percent), None).counters
        for percent in (0, 100)
    )
    idle = {counter: slow[counter] - fast[counter] for counter in Counter}
    assert idle[Counter.MACS] == 0
    cycles = STREAMED.mac_units * idle[Counter.CYCLES]
    assert cycles > 0
    assert idle[Counter.IDLE_MEMORY] > 0.9 * cycles


@pytest.mark.parametrize("block", [0, 1, 2, -1])
@pytest.mark.parametrize("fault", ["crc", "bus"])
def test_a_wrong_block_stops_the_load_or_run(
    job: Job, emitted: Emitted, cache_dir: Path, block: int, fault: str
) -> None:
    editor = ProgramEditor(job.schedule.program)
    place = editor.blocks[block]
    section = max(place.sections, key=lambda section: section.words)
    middle = section.first + section.words // 2
    bus = BusModel()
    if fault == "crc":
        editor.flip(middle, 5)
    else:
        where = MemoryMap.of(job.schedule, len(job.images), base_address=bus.base_address)
        bus = BusModel(read_error_address=where.program + 4 * middle)
    spoilt = replace(job, schedule=replace(job.schedule, program=editor.words))
    result = run(spoilt, emitted(STREAMED), cache_dir, bus, None)
    assert result.error is (ErrorCode.BAD_CRC if fault == "crc" else ErrorCode.AXI_READ)
    assert bool(result.load.error) == (block in (0, 1))


def test_resident_networks_run_on_the_same_hardware(
    rng: np.random.Generator, emitted: Emitted, cache_dir: Path
) -> None:
    network = random_network(rng, dims=(DIMS[0], 4, 3), modes=MODES[:2])
    schedule = compile_network(network, STREAMED)
    assert schedule.stream_blocks == 0
    job = Job(network=network, schedule=schedule, images=random_images(rng, 9))
    assert_right(job, run(job, emitted(STREAMED), cache_dir, BusModel(stall_percent=30), 4))
