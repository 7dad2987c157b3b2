"""Block RAMs return anything for a row that is being written; no result may depend on it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.garbled_memory import GARBLED
from jpnet_cosim.runner import BusModel, run_native
from jpnet_cosim.scoreboard import compare
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode


@pytest.mark.slow
def test_no_result_depends_on_a_row_read_while_it_is_written(
    make_job: Callable[..., Job],
    emitted: Callable[[AcceleratorConfig], Path],
    cache_dir: Path,
) -> None:
    job = make_job(GARBLED, images=60)
    for stall_percent in (0, 40):
        result = run_native(
            emitted(GARBLED),
            schedule=job.schedule,
            images=job.images,
            cache_dir=cache_dir,
            bus=BusModel(stall_percent=stall_percent),
            optimise=False,
        )
        assert result.error is ErrorCode.NONE
        comparison = compare(job.schedule, job.network.run(job.images), result)
        assert comparison.mismatches == 0, str(comparison)
