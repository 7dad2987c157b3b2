"""The cycle model against the generated Verilog's counters."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.cycles.latencies import latencies
from jpnet_cosim.cycles.shape import shape_of
from jpnet_cosim.map_samples import random_convolutional_network, random_maps
from jpnet_cosim.residual_samples import random_residual_network
from jpnet_cosim.runner import BusModel, run_native
from jpnet_cosim.samples import SMALL, STREAMED
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_sw.compiler import compile_network

MakeJob = Callable[..., Job]
Emitted = Callable[[AcceleratorConfig], Path]

CONFIGS = {
    "small": SMALL,
    "one_context": replace(SMALL, contexts=1),
    "divided": replace(SMALL, clusters=1, weight_depth=256, pointer_depth=128),
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
        assert abs(found[counter] - run.counters[counter]) <= 0.02 * cycles * SMALL.mac_units


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


def test_what_is_not_modelled_is_refused(make_job: MakeJob, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"lists must be resident, \d+ blocks"):
        model(make_job(STREAMED))
    with pytest.raises(ValueError, match=re.escape("CycleModel.bus must not stall")):
        model(make_job(), bus=BusModel(stall_percent=1))
    network = random_residual_network(rng)
    images = random_maps(rng, 2, network.input_shape)
    schedule = compile_network(network, PRESETS["edge16"])
    with pytest.raises(ValueError, match=r"^residual: residual networks are not modelled, .*"):
        CycleModel(schedule, network.run(images), images)


@pytest.mark.parametrize("name", list(PRESETS))
def test_latencies_follow_the_hardware(name: str) -> None:
    found = latencies(PRESETS[name])
    assert found.counted > found.drained == found.written
    assert all(value > 0 for value in found)
    shape = shape_of(PRESETS[name], in_flight=2, memory_latency=20)
    assert shape.beat_parts * shape.word_beats >= 1
