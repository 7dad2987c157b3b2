"""Whole programs through the generated Verilog in the native runner."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.runner import BusModel, MemoryMap, NativeRun, SimulationError, run_native
from jpnet_cosim.samples import GEOMETRIES, MODES, random_images
from jpnet_cosim.scoreboard import compare, compare_counters
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.topn import ThresholdMode

Emitted = Callable[[AcceleratorConfig], Path]
MakeJob = Callable[..., Job]


def run(job: Job, verilog_dir: Path, cache_dir: Path, **options: Any) -> NativeRun:
    return run_native(
        verilog_dir,
        schedule=job.schedule,
        images=job.images,
        cache_dir=cache_dir,
        **{"optimise": False, **options},
    )


def assert_right(job: Job, result: NativeRun) -> None:
    traces = job.network.run(job.images)
    assert result.error is ErrorCode.NONE
    comparison = compare(job.schedule, traces, result)
    assert comparison.mismatches == 0, str(comparison)
    wrong = compare_counters(job.network, job.schedule, traces, result, job.images)
    assert wrong == {}
    assert sum(record.images_done for record in result.runs) == len(job.images)


def test_every_tensor_is_right(job: Job, verilog_dir: Path, cache_dir: Path) -> None:
    assert_right(job, run(job, verilog_dir, cache_dir))


@pytest.mark.slow
def test_the_optimised_simulator_gives_the_same(
    make_job: MakeJob, emitted: Emitted, cache_dir: Path
) -> None:
    config = GEOMETRIES["single"]
    job = make_job(config)
    quick, optimised = (
        run(job, emitted(config), cache_dir, optimise=optimise) for optimise in (False, True)
    )
    assert_right(job, optimised)
    assert quick.simulated_cycles == optimised.simulated_cycles
    assert np.array_equal(quick.rows, optimised.rows)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("latency", [0, 64])
def test_every_tensor_is_right_under_stalls(
    make_job: MakeJob, verilog_dir: Path, cache_dir: Path, seed: int, latency: int
) -> None:
    job = make_job(images=20)
    bus = BusModel(latency_cycles=latency, stall_percent=20 + 20 * seed, stall_seed=seed)
    assert_right(job, run(job, verilog_dir, cache_dir, bus=bus))


@pytest.mark.parametrize("mode", list(ThresholdMode))
def test_every_threshold_mode_is_right(
    make_job: MakeJob, verilog_dir: Path, cache_dir: Path, mode: ThresholdMode
) -> None:
    job = make_job(images=30, modes=[mode] * 4)
    assert_right(job, run(job, verilog_dir, cache_dir))


@pytest.mark.parametrize("dims", [(1, 1), (8, 9), (17, 1, 60), (9, 33, 8, 2, 16, 3)])
def test_odd_shapes_are_right(
    make_job: MakeJob, verilog_dir: Path, cache_dir: Path, dims: tuple[int, ...]
) -> None:
    modes = [MODES[index % 4] for index in range(len(dims) - 1)]
    job = make_job(images=9, dims=dims, modes=modes)
    assert_right(job, run(job, verilog_dir, cache_dir))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "wide" else []) for name in GEOMETRIES],
)
def test_other_geometries_are_right(
    make_job: MakeJob, emitted: Emitted, cache_dir: Path, name: str
) -> None:
    config = GEOMETRIES[name]
    job = make_job(config, images=12)
    bus = BusModel(stall_percent=30)
    assert_right(job, run(job, emitted(config), cache_dir, bus=bus))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_right(make_job: MakeJob, emitted: Emitted, cache_dir: Path, name: str) -> None:
    config = PRESETS[name]
    job = make_job(config, images=12, dims=(100, 80, 70, 40, 10))
    assert_right(job, run(job, emitted(config), cache_dir))


def test_divided_inputs_are_right(make_job: MakeJob, emitted: Emitted, cache_dir: Path) -> None:
    config = GEOMETRIES["divided"]
    job = make_job(config, images=12)
    assert any(plan.divided for plan in job.schedule.layers)
    assert_right(job, run(job, emitted(config), cache_dir))


def test_dense_schedule_is_right_and_issues_every_product(
    make_job: MakeJob, emitted: Emitted, cache_dir: Path
) -> None:
    config = GEOMETRIES["narrow"]
    job = make_job(config, dense=True, modes=[ThresholdMode.NONE] * 4)
    result = run(job, emitted(config), cache_dir)
    traces = job.network.run(job.images)
    comparison = compare(job.schedule, traces, result)
    assert comparison.mismatches == 0, str(comparison)
    assert result.counters[Counter.MACS] == len(job.images) * job.network.macs_dense


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((3, 40), dtype=np.int8),
        np.full((3, 40), 127, dtype=np.int8),
        np.full((3, 40), -127, dtype=np.int8),
        np.eye(40, dtype=np.int8) * -127,
    ],
    ids=["zero", "maximum", "minimum", "one"],
)
def test_extreme_images_are_right(
    job: Job, verilog_dir: Path, cache_dir: Path, images: np.ndarray
) -> None:
    extreme = replace(job, images=images)
    assert_right(extreme, run(extreme, verilog_dir, cache_dir))


def test_runs_of_one_image_give_the_same_results(
    job: Job, verilog_dir: Path, cache_dir: Path
) -> None:
    together = run(job, verilog_dir, cache_dir)
    apart = run(job, verilog_dir, cache_dir, images_per_run=1)
    assert_right(job, apart)
    assert len(apart.runs) == len(job.images)
    assert np.array_equal(together.results, apart.results)


def test_lanes_account_for_every_cycle(job: Job, verilog_dir: Path, cache_dir: Path) -> None:
    result = run(job, verilog_dir, cache_dir, images_per_run=2, bus=BusModel(stall_percent=50))
    for record in result.runs:
        accounted = record.counters[Counter.MACS]
        accounted += sum(record.counters[counter] for counter in STALL_COUNTERS)
        assert accounted == job.schedule.config.mac_units * record.counters[Counter.CYCLES]


def test_the_same_seed_gives_the_same_cycles(job: Job, verilog_dir: Path, cache_dir: Path) -> None:
    first, second = (
        run(job, verilog_dir, cache_dir, bus=BusModel(stall_percent=50)) for _ in range(2)
    )
    assert first.simulated_cycles == second.simulated_cycles
    assert np.array_equal(first.thresholds, second.thresholds)


def test_waveforms_of_a_run_are_written(
    make_job: MakeJob, emitted: Emitted, cache_dir: Path, tmp_path: Path
) -> None:
    config = GEOMETRIES["single"]
    one = make_job(config, images=1)
    waves = tmp_path / "image.fst"
    assert_right(one, run(one, emitted(config), cache_dir, waves=waves))
    assert waves.stat().st_size > 1000


@pytest.mark.parametrize("place", ["program", "images"])
def test_read_error_ends_with_its_code(
    job: Job, verilog_dir: Path, cache_dir: Path, place: str
) -> None:
    memory = MemoryMap.of(job.schedule, len(job.images), base_address=BusModel().base_address)
    bus = BusModel(read_error_address=getattr(memory, place) + 3)
    assert run(job, verilog_dir, cache_dir, bus=bus).error is ErrorCode.AXI_READ


def test_write_error_ends_with_its_code(job: Job, verilog_dir: Path, cache_dir: Path) -> None:
    memory = MemoryMap.of(job.schedule, len(job.images), base_address=BusModel().base_address)
    bus = BusModel(write_error_address=memory.results + 3 * job.schedule.result_bytes)
    result = run(job, verilog_dir, cache_dir, bus=bus)
    assert result.error is ErrorCode.AXI_WRITE
    assert result.runs[0].images_done <= 3


def test_a_run_past_its_limit_is_reported(job: Job, verilog_dir: Path, cache_dir: Path) -> None:
    hasty = replace(job, schedule=replace(job.schedule, cycles_limit_image=5))
    with pytest.raises(SimulationError, match="the run of images from 0 did not end within 30"):
        run(hasty, verilog_dir, cache_dir)


def test_images_of_another_size_are_refused(
    job: Job, rng: np.random.Generator, verilog_dir: Path, cache_dir: Path
) -> None:
    wrong = replace(job, images=random_images(rng, 2, 39))
    with pytest.raises(ValueError, match="images must be int8 with 40 elements each"):
        run(wrong, verilog_dir, cache_dir)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latency_cycles", 65),
        ("stall_percent", 101),
        ("stall_longest", 4),
        ("stall_seed", -1),
        ("base_address", 8),
    ],
)
def test_bus_outside_the_limits_of_a_schedule_is_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"BusModel.{field} must be"):
        BusModel(**{field: value})
