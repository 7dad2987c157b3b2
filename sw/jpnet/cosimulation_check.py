"""The check that `jpnet cosim` hands to pytest, without which cocotb reports no failures."""

from typing import TYPE_CHECKING

from jpnet_cosim.bench_runner import run_benches
from jpnet_cosim.benches import accelerator_bench

if TYPE_CHECKING:
    from jpnet.cosimulation import CosimulationJob

__all__ = ["test_every_tensor_is_right"]

_BENCHES = ("every_tensor", "lanes_account")


def test_every_tensor_is_right(cosimulation_job: "CosimulationJob") -> None:
    """Run the benches that compare every layer's tensor, in free flow and under random stalls."""
    job = cosimulation_job
    job.passed = run_benches(
        job.verilog_dir,
        module=accelerator_bench.__name__,
        cache_dir=job.cache_dir,
        work_dir=job.job_dir,
        bench_prefixes=_BENCHES,
        options={"job": str(job.job_dir)},
        seed=job.seed,
        waves=job.waves,
    )
