"""The scoreboard on simulations made up from the reference."""

from dataclasses import replace

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.map_samples import random_convolutional_network, random_maps
from jpnet_cosim.runner import NativeRun, RunRecord
from jpnet_cosim.samples import SMALL
from jpnet_cosim.scoreboard import Subject, compare, compare_counters
from jpnet_cosim.trace import THRESHOLD_DTYPE, row_dtype
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_sw.compiler import compile_network


def perfect_run(job: Job) -> NativeRun:
    """What hardware without a fault leaves behind."""
    traces, schedule = job.network.run(job.images), job.schedule
    lanes, images = schedule.config.lanes, len(job.images)
    rows, thresholds = [], []
    for index, plan in enumerate(schedule.layers):
        physical = np.zeros((images, plan.rows * lanes), dtype=np.int8)
        physical[:, plan.positions] = traces[plan.name].tensor.reshape(images, -1)
        instruction = np.flatnonzero(schedule.instruction_layers == index)[-1]
        stored = np.flatnonzero(plan.stored_rows(lanes))
        records = np.zeros((images, len(stored)), dtype=row_dtype(lanes))
        records["image"] = np.arange(images)[:, None]
        records["layer"] = instruction
        records["row"] = stored[None]
        records["acts"] = physical.reshape(images, plan.rows, lanes)[:, stored]
        rows.append(records.ravel())
        found = np.zeros(images, dtype=THRESHOLD_DTYPE)
        found["image"] = np.arange(images)
        found["layer"] = instruction
        found["threshold"] = traces[plan.name].threshold
        thresholds.append(found)
    results = np.zeros((images, schedule.result_bytes), dtype=np.int8)
    results[:, : physical.shape[1]] = physical
    counters = dict.fromkeys(Counter, 0)
    record = RunRecord(
        images=images, images_done=images, cycles=0, error=ErrorCode.NONE, counters=counters
    )
    return NativeRun(
        rows=np.concatenate(rows),
        thresholds=np.concatenate(thresholds),
        results=results,
        load=record,
        runs=(record,),
        simulated_cycles=0,
        seconds=0.0,
    )


def test_equal_runs_have_no_difference(job: Job) -> None:
    comparison = compare(job.schedule, job.network.run(job.images), perfect_run(job))
    assert comparison.mismatches == 0
    assert comparison.first is None
    assert comparison.images == len(job.images)
    physical = sum(plan.rows * job.schedule.config.lanes + 1 for plan in job.schedule.layers)
    assert comparison.values == len(job.images) * (physical + job.schedule.result_bytes)
    assert "all equal" in str(comparison)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_one_changed_activation_is_located(job: Job, rng: np.random.Generator, layer: int) -> None:
    run = perfect_run(job)
    plan = job.schedule.layers[layer]
    channel = int(rng.integers(len(plan.positions)))
    row, lane = divmod(int(plan.positions[channel]), job.schedule.config.lanes)
    index = np.flatnonzero(
        (run.rows["image"] == 3) & (run.rows["layer"] == layer) & (run.rows["row"] == row)
    )[0]
    expected = int(run.rows["acts"][index, lane])
    run.rows["acts"][index, lane] ^= 4
    comparison = compare(job.schedule, job.network.run(job.images), run)
    assert comparison.mismatches == 1
    assert comparison.by_layer[plan.name] == 1
    first = comparison.first
    assert first is not None
    assert (first.subject, first.image, first.layer) == (Subject.TENSOR, 3, plan.name)
    assert (first.channel, first.position) == (channel, 0)
    assert (first.expected, first.got) == (expected, expected ^ 4)
    assert f"image 3, layer '{plan.name}', channel {channel}, position 0" in str(comparison)


def test_one_changed_expected_value_is_located(job: Job) -> None:
    traces = job.network.run(job.images)
    trace = traces["fc2"]
    tensor = trace.tensor.copy()
    tensor[2, 5] += 1 if tensor[2, 5] < 127 else -1
    comparison = compare(
        job.schedule, {**traces, "fc2": replace(trace, tensor=tensor)}, perfect_run(job)
    )
    assert comparison.mismatches == 1
    assert comparison.first is not None
    assert (comparison.first.image, comparison.first.layer) == (2, "fc2")
    assert comparison.first.channel == 5
    assert comparison.first.expected == tensor[2, 5]
    assert comparison.first.got == trace.tensor[2, 5]


def test_one_changed_threshold_is_located(job: Job) -> None:
    run = perfect_run(job)
    index = np.flatnonzero((run.thresholds["image"] == 1) & (run.thresholds["layer"] == 0))[0]
    expected = int(run.thresholds["threshold"][index])
    run.thresholds["threshold"][index] += 1
    comparison = compare(job.schedule, job.network.run(job.images), run)
    assert comparison.mismatches == 1
    assert comparison.first is not None
    assert comparison.first.subject is Subject.THRESHOLD
    assert (comparison.first.image, comparison.first.layer) == (1, "fc1")
    assert (comparison.first.expected, comparison.first.got) == (expected, expected + 1)


def test_one_changed_result_is_located(job: Job) -> None:
    run = perfect_run(job)
    run.results[4, job.schedule.layers[-1].positions[6]] ^= 1
    comparison = compare(job.schedule, job.network.run(job.images), run)
    assert comparison.mismatches == 1
    assert comparison.first is not None
    assert comparison.first.subject is Subject.RESULT
    assert (comparison.first.image, comparison.first.channel) == (4, 6)


def test_changed_padding_is_located(job: Job) -> None:
    run = perfect_run(job)
    plan = job.schedule.layers[1]
    places = plan.rows * job.schedule.config.lanes
    padding = sorted(set(range(places)) - set(plan.positions.tolist()))
    row, lane = divmod(padding[0], job.schedule.config.lanes)
    run.rows["acts"][
        np.flatnonzero((run.rows["layer"] == 1) & (run.rows["row"] == row))[0], lane
    ] = 1
    comparison = compare(job.schedule, job.network.run(job.images), run)
    assert comparison.mismatches == 1
    assert comparison.first is not None
    assert comparison.first.channel is None
    assert comparison.first.position == padding[0]


@pytest.mark.parametrize("times", [0, 2])
def test_a_row_must_be_written_once(job: Job, times: int) -> None:
    run = perfect_run(job)
    lanes = job.schedule.config.lanes
    rows = np.delete(run.rows, 7) if times == 0 else np.append(run.rows, run.rows[7])
    comparison = compare(job.schedule, job.network.run(job.images), replace(run, rows=rows))
    assert comparison.mismatches == lanes
    assert comparison.first is not None
    assert comparison.first.got is None


@pytest.mark.parametrize("field", ["image", "layer", "row"])
def test_a_row_that_no_layer_has_is_found(job: Job, field: str) -> None:
    run = perfect_run(job)
    extra = run.rows[:1].copy()
    extra[field] = 9999
    comparison = compare(
        job.schedule, job.network.run(job.images), replace(run, rows=np.append(run.rows, extra))
    )
    assert comparison.mismatches == 1
    assert comparison.first is not None
    assert comparison.first.subject is Subject.EXCESS


def test_first_difference_is_that_of_the_earliest_image_and_layer(job: Job) -> None:
    run = perfect_run(job)
    for image, layer in ((2, 2), (1, 3), (2, 0), (1, 1)):
        places = (run.rows["image"] == image) & (run.rows["layer"] == layer)
        run.rows["acts"][np.flatnonzero(places)[0]] += 1
    comparison = compare(job.schedule, job.network.run(job.images), run)
    assert comparison.first is not None
    assert (comparison.first.image, comparison.first.layer) == (1, "fc2")


def test_wrong_counters_are_named(job: Job) -> None:
    run, traces = perfect_run(job), job.network.run(job.images)
    wrong = compare_counters(job.network, job.schedule, traces, run, job.images)
    assert wrong[Counter.MACS] == (int(sum(t.macs_effective.sum() for t in traces.values())), 0)
    assert set(wrong) == {Counter.MACS, Counter.ACTS_READ, Counter.ACTS_ZERO, Counter.ACTS_BELOW}


def map_job(config: AcceleratorConfig) -> Job:
    rng = np.random.default_rng(16)
    network = random_convolutional_network(rng)
    return Job(
        network=network,
        schedule=compile_network(network, config),
        images=random_maps(rng, 3, network.input_shape),
    )


def test_maps_are_compared_by_channel_and_position_whatever_their_padding_holds() -> None:
    job = map_job(replace(SMALL, weight_depth=4096, pointer_depth=4096, act_depth=256))
    run, traces = perfect_run(job), job.network.run(job.images)
    assert compare(job.schedule, traces, run).mismatches == 0
    plan, lanes = job.schedule.layers[0], job.schedule.config.lanes
    assert plan.instructions > 1
    assert not plan.stored_rows(lanes).all()
    shape = job.network.layers[0].output_shape
    channel, position = shape[0] - 1, shape[1] * shape[2] - 2
    row, lane = divmod(int(plan.positions[channel * shape[1] * shape[2] + position]), lanes)
    run.rows["acts"][
        (run.rows["image"] == 1)
        & (run.rows["layer"] == plan.instructions - 1)
        & (run.rows["row"] == row),
        lane,
    ] ^= 1
    comparison = compare(job.schedule, traces, run)
    assert comparison.mismatches == 1
    assert comparison.first is not None
    assert (comparison.first.channel, comparison.first.position) == (channel, position)


def test_row_of_a_map_that_is_only_padding_is_unexpected() -> None:
    job = map_job(replace(SMALL, weight_depth=4096, pointer_depth=4096, act_depth=256))
    run, plan = perfect_run(job), job.schedule.layers[0]
    extra = run.rows[:1].copy()
    extra["row"] = np.flatnonzero(~plan.stored_rows(job.schedule.config.lanes))[0]
    comparison = compare(
        job.schedule, job.network.run(job.images), replace(run, rows=np.append(run.rows, extra))
    )
    assert comparison.first is not None
    assert comparison.first.subject is Subject.EXCESS
