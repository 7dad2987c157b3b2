"""One flipped weight, threshold, expected value or instruction bit never goes unnoticed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.runner import run_native
from jpnet_cosim.scoreboard import Comparison, Subject, compare
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import Memory


@pytest.fixture
def job(make_job: Callable[..., Job]) -> Job:
    return make_job(images=20)


def run_program(
    job: Job, program: ProgramEditor, verilog_dir: Path, cache_dir: Path
) -> tuple[ErrorCode, Comparison]:
    schedule = replace(job.schedule, program=program.words)
    result = run_native(
        verilog_dir, schedule=schedule, images=job.images, cache_dir=cache_dir, optimise=False
    )
    return result.error, compare(schedule, job.network.run(job.images), result)


def flip_weight(job: Job, layer: int, cluster: int, bit: int) -> tuple[ProgramEditor, int]:
    """Flip a bit of a layer's first weight in a cluster's groups; also return its channel."""
    editor = ProgramEditor(job.schedule.program)
    lanes = job.schedule.config.lanes
    places = [
        place for place in editor.of(Memory.WEIGHT) if (place.lane, place.cluster) == (0, cluster)
    ]
    starts = sorted({place.address for place in places})
    for place in places:
        if place.address == starts[layer]:
            entry = int(editor.values(place)[0, 0])
            editor.flip(place.first, bit)
    position = (entry >> 8) * lanes
    return editor, int(np.flatnonzero(job.schedule.layers[layer].positions == position)[0])


@pytest.mark.parametrize(("layer", "cluster"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_flipped_weight_is_located(
    job: Job, verilog_dir: Path, cache_dir: Path, layer: int, cluster: int
) -> None:
    # The sign bit: large enough to survive requantisation in some image.
    editor, channel = flip_weight(job, layer, cluster, 7)
    error, comparison = run_program(job, editor.seal(), verilog_dir, cache_dir)
    assert error is ErrorCode.NONE
    assert comparison.first is not None
    assert comparison.first.subject is Subject.TENSOR
    assert comparison.first.layer == job.schedule.layers[layer].name
    assert comparison.first.channel == channel
    for earlier in job.schedule.layers[:layer]:
        assert comparison.by_layer[earlier.name] == 0


def test_flipped_static_threshold_is_located(job: Job, verilog_dir: Path, cache_dir: Path) -> None:
    editor = ProgramEditor(job.schedule.program)
    editor.set_field(2, "static_threshold", editor.field(2, "static_threshold") ^ 1)
    error, comparison = run_program(job, editor.seal(), verilog_dir, cache_dir)
    assert error is ErrorCode.NONE
    assert comparison.first is not None
    assert comparison.first.subject is Subject.THRESHOLD
    assert (comparison.first.image, comparison.first.layer) == (0, "fc3")
    assert comparison.first.expected == 11
    assert comparison.first.got == 10
    assert comparison.by_layer["fc3"] == len(job.images)


def test_changed_number_of_winners_is_located(job: Job, verilog_dir: Path, cache_dir: Path) -> None:
    editor = ProgramEditor(job.schedule.program)
    editor.set_field(0, "winners", editor.field(0, "winners") ^ 2)
    error, comparison = run_program(job, editor.seal(), verilog_dir, cache_dir)
    assert error is ErrorCode.NONE
    assert comparison.first is not None
    assert comparison.first.subject is Subject.THRESHOLD
    assert comparison.first.layer == "fc1"


def test_flipped_expected_value_is_located(job: Job, verilog_dir: Path, cache_dir: Path) -> None:
    result = run_native(
        verilog_dir, schedule=job.schedule, images=job.images, cache_dir=cache_dir, optimise=False
    )
    traces = job.network.run(job.images)
    tensor = traces["fc2"].tensor.copy()
    tensor[13, 8] ^= 1
    comparison = compare(
        job.schedule, {**traces, "fc2": replace(traces["fc2"], tensor=tensor)}, result
    )
    assert comparison.mismatches == 1
    assert comparison.first is not None
    assert (comparison.first.image, comparison.first.layer) == (13, "fc2")
    assert comparison.first.channel == 8
    assert comparison.first.expected == tensor[13, 8]


@pytest.mark.parametrize(
    ("name", "bit"),
    [
        ("shift", 0),
        ("threshold_mode", 0),
        ("source_slot", 0),
        ("source_base", 0),
        ("source_rows", 0),
        ("pointer_base", 0),
        ("param_base", 0),
        ("rows", 2),
    ],
)
def test_flipped_instruction_bit_is_located(
    job: Job, verilog_dir: Path, cache_dir: Path, name: str, bit: int
) -> None:
    editor = ProgramEditor(job.schedule.program)
    editor.set_field(1, name, editor.field(1, name) ^ 1 << bit)
    error, comparison = run_program(job, editor.seal(), verilog_dir, cache_dir)
    if error is ErrorCode.NONE:
        assert comparison.first is not None
        assert comparison.first.layer in ("fc2", "instruction 1")
    else:
        assert error is ErrorCode.BAD_FIELD


@pytest.mark.parametrize("memory", list(Memory))
def test_flipped_bit_without_a_mended_checksum_is_refused(
    job: Job, rng: np.random.Generator, verilog_dir: Path, cache_dir: Path, memory: Memory
) -> None:
    editor = ProgramEditor(job.schedule.program)
    place = editor.of(memory)[-1]
    index = place.first + int(rng.integers(place.words))
    editor.flip(index, int(rng.integers(32)))
    error, _ = run_program(job, editor, verilog_dir, cache_dir)
    assert error is ErrorCode.BAD_CRC
