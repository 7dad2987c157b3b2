"""The k-th smallest of each row: by counting where there are few values and long rows."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jpnet_spec.numbers import INT8_MAX

__all__ = ["kth_smallest"]

_SHORT = 512
"""Longest row that is partitioned in any case: numpy does these in registers, ties or not."""


def kth_smallest(rows: Tensor, place: int, *, integers: bool) -> Tensor:
    """Return each row's element at a place of its ascending order.

    Parameters
    ----------
    rows : float32 or bfloat16, at least 0, shape (rows, elements)
    place
        0 is the smallest.
    integers
        Whether every element is an integer of at most 127.

    Returns
    -------
    shape (rows, 1)
        The type of `rows`.
    """
    if rows.is_cuda:
        return rows.kthvalue(place + 1, dim=1, keepdim=True).values
    half = rows.dtype is torch.bfloat16
    # The bits of non-negative numbers are in the numbers' order, and take less time to compare.
    bits = rows.view(torch.int16 if half else torch.int32)
    if rows.shape[1] <= _SHORT or not (integers or half):
        found = np.partition(bits.numpy(), place, axis=1)[:, place, None]
        return torch.from_numpy(found).view(rows.dtype)
    if integers:
        codes = _count(rows.to(torch.uint8).numpy(), place, INT8_MAX + 1)
        return torch.from_numpy(codes).to(rows.dtype)
    codes = _count(bits.numpy(), place, 2**15)
    return torch.from_numpy(codes.astype(np.int16)).view(torch.bfloat16)


def _count(codes: NDArray[np.integer], place: int, values: int) -> NDArray[np.int64]:
    found = np.empty((len(codes), 1), dtype=np.int64)
    for index, row in enumerate(codes):
        not_above = np.bincount(row, minlength=values).cumsum()
        found[index] = np.searchsorted(not_above, place, side="right")
    return found
