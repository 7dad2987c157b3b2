"""The cycle model against the generated Verilog's counters."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.cycles.latencies import latencies
from jpnet_cosim.cycles.shape import shape_of
from jpnet_cosim.map_samples import random_convolutional_network, random_maps
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.residual_samples import STREAMED_RESIDUAL, random_residual_network
from jpnet_cosim.runner import BusModel, run_native
from jpnet_cosim.samples import GEOMETRIES, STREAMED
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_spec.instruction import LayerFlag
from jpnet_sw.compiler import compile_network

MakeJob = Callable[..., Job]
Emitted = Callable[[AcceleratorConfig], Path]

CONFIGS = {
    "resident": STREAMED_RESIDUAL,
    "single": GEOMETRIES["single"],
    "divided": GEOMETRIES["divided"],
}


def model(job: Job, **options: BusModel) -> CycleModel:
    return CycleModel(job.schedule, job.network.run(job.images), job.images, **options)


@pytest.mark.parametrize("latency", [0, 20, 64])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_images_one_at_a_time_take_exactly_what_is_predicted(
    make_job: MakeJob, emitted: Emitted, cache_dir: Path, name: str, latency: int
) -> None:
    job = make_job(CONFIGS[name], images=4)
    bus = BusModel(latency_cycles=latency)
    run = run_native(
        emitted(CONFIGS[name]),
        schedule=job.schedule,
        images=job.images,
        cache_dir=cache_dir,
        images_per_run=1,
        bus=bus,
        optimise=False,
    )
    predicted = model(job, bus=bus)
    for image, record in enumerate(run.runs):
        found = predicted.run(image, 1).counters
        assert found == {counter: record.counters[counter] for counter in found}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_images_back_to_back_take_what_is_predicted(
    make_job: MakeJob, emitted: Emitted, cache_dir: Path, name: str
) -> None:
    job = make_job(CONFIGS[name], images=20)
    run = run_native(
        emitted(CONFIGS[name]),
        schedule=job.schedule,
        images=job.images,
        cache_dir=cache_dir,
        optimise=False,
    )
    found = model(job).run().counters
    cycles = run.counters[Counter.CYCLES]
    assert found[Counter.MACS] == run.counters[Counter.MACS]
    assert abs(found[Counter.CYCLES] - cycles) <= 0.01 * cycles
    for counter in STALL_COUNTERS:
        lanes = CONFIGS[name].mac_units
        assert abs(found[counter] - run.counters[counter]) <= 0.02 * cycles * lanes


@pytest.mark.parametrize("images_per_run", [1, 8])
def test_fewer_images_in_flight_take_what_is_predicted(
    rng: np.random.Generator, emitted: Emitted, cache_dir: Path, images_per_run: int
) -> None:
    config = PRESETS["tiny"]
    network = random_convolutional_network(rng, largest=10, channels=6)
    images = random_maps(rng, 8, network.input_shape)
    schedule = compile_network(network, config, in_flight=1)
    assert schedule.in_flight < config.contexts
    run = run_native(
        emitted(config),
        schedule=schedule,
        images=images,
        cache_dir=cache_dir,
        images_per_run=images_per_run,
        optimise=False,
    )
    predicted = CycleModel(schedule, network.run(images), images)
    for number, record in enumerate(run.runs):
        found = predicted.run(number * images_per_run, images_per_run).counters
        cycles = record.counters[Counter.CYCLES]
        assert found[Counter.MACS] == record.counters[Counter.MACS]
        assert abs(found[Counter.CYCLES] - cycles) <= 0.01 * cycles


def test_lanes_account_for_every_cycle_of_any_configuration(rng: np.random.Generator) -> None:
    network = random_convolutional_network(rng)
    images = random_maps(rng, 3, network.input_shape)
    traces = network.run(images)
    for lanes, groups, clusters, contexts in ((1, 1, 1, 1), (2, 2, 4, 2), (4, 1, 8, 4)):
        config = AcceleratorConfig(
            lanes=lanes,
            groups=groups,
            clusters=clusters,
            contexts=contexts,
            weight_depth=65536,
            pointer_depth=65536,
            acc_depth=4096,
            act_depth=1024,
        )
        schedule = compile_network(network, config)
        found = CycleModel(schedule, traces, images).run()
        assert found.counters[Counter.MACS] == sum(
            int(trace.macs_effective.sum()) for trace in traces.values()
        )
        assert (found.ends > 0).all()


def test_more_memory_latency_never_makes_a_lone_image_faster(make_job: MakeJob) -> None:
    job = make_job()
    cycles = [
        model(job, bus=BusModel(latency_cycles=latency)).run(0, 1).counters[Counter.CYCLES]
        for latency in (0, 10, 64)
    ]
    assert cycles == sorted(cycles)
    assert cycles[2] - cycles[0] >= 64


@pytest.mark.parametrize("latency", [0, 20, 64])
@pytest.mark.parametrize("images_per_run", [1, 5])
def test_streamed_lists_take_exactly_what_is_predicted(
    make_job: MakeJob, emitted: Emitted, cache_dir: Path, images_per_run: int, latency: int
) -> None:
    job, bus = make_job(STREAMED), BusModel(latency_cycles=latency)
    assert job.schedule.stream_blocks
    run = run_native(
        emitted(STREAMED),
        schedule=job.schedule,
        images=job.images,
        cache_dir=cache_dir,
        images_per_run=images_per_run,
        bus=bus,
        optimise=False,
    )
    predicted = model(job, bus=bus)
    for number, record in enumerate(run.runs):
        found = predicted.run(number * images_per_run, images_per_run).counters
        assert found == {counter: record.counters[counter] for counter in found}


@pytest.mark.parametrize("seed", [2, 13])
def test_residual_programs_with_four_images_in_flight_take_exactly_what_is_predicted(
    emitted: Emitted, cache_dir: Path, seed: int
) -> None:
    rng = np.random.default_rng([seed, 7])
    network = random_residual_network(rng)
    images = random_maps(rng, 6, network.input_shape)
    schedule = compile_network(network, STREAMED_RESIDUAL, in_flight=4)
    assert not schedule.stream_blocks
    run = run_native(
        emitted(STREAMED_RESIDUAL),
        schedule=schedule,
        images=images,
        cache_dir=cache_dir,
        optimise=False,
    )
    found = CycleModel(schedule, network.run(images), images).run().counters
    assert found == {counter: run.counters[counter] for counter in found}


@pytest.mark.parametrize("in_flight", [1, 2])
@pytest.mark.parametrize("seed", [2, 3, 13, 22, 38])
def test_residual_programs_take_exactly_what_is_predicted(
    emitted: Emitted, cache_dir: Path, seed: int, in_flight: int
) -> None:
    rng = np.random.default_rng([seed, 7])
    network = random_residual_network(rng)
    images = random_maps(rng, 4, network.input_shape)
    schedule = compile_network(network, STREAMED_RESIDUAL, in_flight=in_flight)
    run = run_native(
        emitted(STREAMED_RESIDUAL),
        schedule=schedule,
        images=images,
        cache_dir=cache_dir,
        optimise=False,
    )
    found = CycleModel(schedule, network.run(images), images).run().counters
    assert found == {counter: run.counters[counter] for counter in found}


def test_the_residual_programs_have_every_option_of_the_drain_and_streams() -> None:
    found, blocks = LayerFlag(0), 0
    for seed in (2, 3, 13, 22, 38):
        network = random_residual_network(np.random.default_rng([seed, 7]))
        schedule = compile_network(network, STREAMED_RESIDUAL)
        program = ProgramEditor(schedule.program)
        for number in range(len(schedule.instruction_layers)):
            found |= LayerFlag(program.field(number, "flags"))
        blocks += schedule.stream_blocks
    assert LayerFlag.KEEP_SUMS | LayerFlag.CARRIED | LayerFlag.SUMMED in found
    assert LayerFlag.SECOND | LayerFlag.GATHER in found
    assert blocks


@pytest.mark.parametrize("percent", [20, 60, 100])
def test_random_delays_are_right_on_average(
    make_job: MakeJob, emitted: Emitted, cache_dir: Path, percent: int
) -> None:
    job = make_job(STREAMED, images=24)
    undisturbed = model(job).run().counters[Counter.CYCLES]
    measured, predicted = [], []
    for seed in range(4):
        bus = BusModel(stall_percent=percent, stall_seed=seed)
        run = run_native(
            emitted(STREAMED),
            schedule=job.schedule,
            images=job.images,
            cache_dir=cache_dir,
            bus=bus,
            optimise=False,
        )
        measured.append(run.counters[Counter.CYCLES] - undisturbed)
        predicted.append(model(job, bus=bus).run().counters[Counter.CYCLES] - undisturbed)
    cost, found = float(np.mean(measured)), float(np.mean(predicted))
    assert abs(found - cost) <= 0.01 * (undisturbed + cost)
    assert abs(found - cost) <= 0.15 * cost


@pytest.mark.parametrize("name", list(PRESETS))
def test_latencies_follow_the_hardware(name: str) -> None:
    found = latencies(PRESETS[name])
    assert found.counted > found.drained == found.written
    assert all(value > 0 for value in found)
    shape = shape_of(PRESETS[name], in_flight=2, streamed=False, memory_latency=20)
    assert shape.beat_parts * shape.word_beats >= 1
