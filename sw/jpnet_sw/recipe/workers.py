"""One training on several devices, under torch's own launcher."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Workers", "join_workers", "training_device"]

_LONGEST_WAIT = timedelta(hours=6)
"""While the first worker scans winner rates and measures, the others wait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """The processes of a training, of which this is one.

    All draw the same random numbers; each takes its part of every batch.

    Parameters
    ----------
    rank
        This process's number; the first one leads: it measures, chooses and writes.
    count
        How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process measures, chooses and writes."""
        return self.rank == 0

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch that cannot be divided.

        Raises
        ------
        ValueError
            If parts would be of different sizes.
        """
        if batch_size % self.count:
            raise ValueError(
                f"RecipeConfig.batch_size must be a multiple of {self.count} workers, "
                f"not {batch_size!r}"
            )

    def part(self, batch: Tensor) -> Tensor:
        """Return this worker's rows of a batch."""
        return batch[self.rank :: self.count]

    def join(self, model: nn.Module) -> nn.Module:
        """Return the module to train: its gradients are the means over all workers."""
        return DistributedDataParallel(model) if self.count > 1 else model

    def wait(self) -> None:
        """Wait until every worker has come here."""
        if self.count > 1:
            distributed.barrier()


def training_device(wanted: str | None) -> torch.device:
    """Return the device to train on: what is wanted, else this worker's GPU, else the CPU."""
    if wanted is not None:
        return torch.device(wanted)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # torchrun counts the workers of each machine.
    index = int(os.environ["LOCAL_RANK"]) if distributed.is_torchelastic_launched() else 0
    return torch.device("cuda", index)


@contextmanager
def join_workers(device: torch.device) -> Iterator[Workers]:
    """Join the other processes that ``torchrun`` started, if it started this one.

    Parameters
    ----------
    device
        What this process trains on.
    """
    if not distributed.is_torchelastic_launched():
        yield Workers()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", timeout=_LONGEST_WAIT
    )
    try:
        yield Workers(rank=distributed.get_rank(), count=distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
