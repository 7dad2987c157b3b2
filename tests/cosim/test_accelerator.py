"""The benches of the whole core, run through pytest."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cocotb._decorators import TestGenerator as Bench

from jpnet_cosim.bench_runner import run_benches
from jpnet_cosim.benches import accelerator_bench
from jpnet_cosim.benches.core import Job
from jpnet_cosim.samples import GEOMETRIES, STREAMED
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.model_file import save_network
from jpnet_spec.schedule import save_schedule

MODULE = accelerator_bench.__name__

GROUPS = {
    "data": ("every_tensor", "lanes_account"),
    "registers": (
        "registers",
        "writable",
        "access_outside",
        "write_of",
        "first_error",
        "interrupts",
    ),
    "commands": ("run_", "start_while"),
    "programs": ("bad_program",),
    "instructions": ("bad_instruction",),
    "bus_errors": ("read_error", "write_error", "watchdog"),
    "stops": ("reset_in", "abort_in"),
}
"""Benches by the beginning of their names."""

DATA_IMAGES = STREAMED.contexts + 1
"""Every context is used a second time."""

STOPPED_IMAGES = 3
"""Enough to be stopped among them."""


def images_of(group: str) -> int:
    return DATA_IMAGES if group == "data" else STOPPED_IMAGES


def save_job(job: Job, folder: Path) -> Path:
    save_network(job.network, folder / "model.safetensors")
    save_schedule(job.schedule, folder / "schedule.safetensors")
    np.save(folder / "images.npy", job.images)
    return folder


@pytest.fixture
def run_group(
    emitted: Callable[[AcceleratorConfig], Path], cache_dir: Path, tmp_path: Path
) -> Callable[[Job, str], int]:
    """Return a function that runs a group of benches on a job and returns how many passed."""

    def run(job: Job, group: str) -> int:
        return run_benches(
            emitted(job.schedule.config),
            module=MODULE,
            cache_dir=cache_dir,
            work_dir=save_job(job, tmp_path),
            bench_prefixes=GROUPS[group],
            options={"job": str(tmp_path)},
        )

    return run


def test_every_bench_belongs_to_a_group() -> None:
    names = [name for name, item in vars(accelerator_bench).items() if isinstance(item, Bench)]
    assert names
    prefixes = tuple(prefix for group in GROUPS.values() for prefix in group)
    assert all(name.startswith(prefixes) for name in names)


@pytest.mark.parametrize("group", list(GROUPS))
def test_benches_pass_with_resident_lists(
    make_job: Callable[..., Job], run_group: Callable[[Job, str], int], group: str
) -> None:
    config = STREAMED if group in ("data", "stops") else GEOMETRIES["single"]
    job = make_job(config, dims=(40, 9, 8, 7, 5), images=images_of(group))
    assert job.schedule.stream_blocks == 0
    assert run_group(job, group) >= len(GROUPS[group])


@pytest.mark.parametrize("group", ["data", "bus_errors", "stops"])
def test_benches_pass_with_streamed_lists(
    make_job: Callable[..., Job], run_group: Callable[[Job, str], int], group: str
) -> None:
    job = make_job(STREAMED, images=images_of(group))
    assert job.schedule.stream_blocks > 0
    assert run_group(job, group) >= len(GROUPS[group])
