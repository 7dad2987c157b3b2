"""A compiled program, executed word by word, computes what the network computes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.program_model import ProgramModel
from jpnet_cosim.samples import SMALL
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.topn import ThresholdMode

MakeJob = Callable[..., Job]


def assert_equal(job: Job) -> None:
    schedule = job.schedule
    model = ProgramModel(schedule.program, schedule.config)
    outputs = model.run(schedule.layout_images(job.images))
    traces = job.network.run(job.images)
    assert len(outputs) == len(schedule.layers)
    for index, (plan, output) in enumerate(zip(schedule.layers, outputs, strict=True)):
        assert np.array_equal(schedule.logical(index, output.tensor), traces[plan.name].tensor)
        assert np.array_equal(output.threshold, traces[plan.name].threshold)
        if not schedule.dense:
            assert np.array_equal(output.macs, traces[plan.name].macs_effective)


@pytest.mark.parametrize("mode", list(ThresholdMode))
def test_every_mode_is_exact(make_job: MakeJob, mode: ThresholdMode) -> None:
    assert_equal(make_job(modes=[mode] * 4, images=20))


@pytest.mark.parametrize(
    "config",
    [
        *PRESETS.values(),
        replace(SMALL, lanes=1, groups=1, weight_depth=2048, acc_depth=64, param_depth=128),
        replace(SMALL, clusters=4),
        replace(SMALL, weight_depth=256, pointer_depth=128),
    ],
    ids=[*PRESETS, "single", "clusters", "divided"],
)
def test_every_geometry_is_exact(make_job: MakeJob, config: AcceleratorConfig) -> None:
    assert_equal(make_job(config, images=8))


def test_dense_program_is_exact_and_holds_every_weight(make_job: MakeJob) -> None:
    job = make_job(replace(SMALL, weight_depth=2048), dense=True, modes=[ThresholdMode.NONE] * 4)
    assert_equal(job)
    outputs = ProgramModel(job.schedule.program, job.schedule.config).run(
        job.schedule.layout_images(job.images)
    )
    assert sum(int(output.macs[0]) for output in outputs) == job.network.macs_dense
