"""The editor finds what the compiler wrote."""

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_spec.image import Memory


def test_sealing_an_unchanged_program_changes_nothing(job: Job) -> None:
    editor = ProgramEditor(job.schedule.program).seal()
    assert np.array_equal(editor.words, job.schedule.program)


def test_fields_are_those_of_the_plan(job: Job) -> None:
    editor = ProgramEditor(job.schedule.program)
    for index, (plan, layer) in enumerate(
        zip(job.schedule.layers, job.network.layers, strict=True)
    ):
        assert editor.field(index, "rows") == plan.rows
        assert editor.field(index, "shift") == layer.shift
        assert editor.field(index, "threshold_mode") == layer.top_n.mode


def test_set_field_changes_that_field_only(job: Job) -> None:
    editor = ProgramEditor(job.schedule.program).set_field(1, "shift", 3)
    assert editor.field(1, "shift") == 3
    assert np.count_nonzero(editor.words != job.schedule.program) == 1
    assert editor.field(1, "winners") == ProgramEditor(job.schedule.program).field(1, "winners")


def test_weight_sections_hold_every_nonzero_weight_of_a_group(job: Job) -> None:
    editor = ProgramEditor(job.schedule.program)
    stored = sum(
        np.count_nonzero(editor.values(place) & 0xFF)
        for place in editor.of(Memory.WEIGHT)
        if place.group in (None, 0, 1)
    )
    wanted = sum(np.count_nonzero(layer.weight) for layer in job.network.layers)
    assert stored == wanted


def test_an_instruction_that_does_not_exist_is_refused(job: Job) -> None:
    with pytest.raises(ValueError, match="instruction must be one of the program's, not 9"):
        ProgramEditor(job.schedule.program).field(9, "rows")
