"""Records that hold the modelled accelerator's state.

No field's extent depends on the configuration, so that the model is compiled once for all of them.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["CONTEXTS", "END", "NEVER", "NOBODY", "Record", "record_dtype"]

Record: TypeAlias = Any
"""A record or an array of them; compiled functions read and write its fields as attributes."""

CONTEXTS = 4
"""Contexts of the largest configuration."""

NEVER = 1 << 60
"""A time that does not come."""

NOBODY = -1
"""No context, in place of one."""

END = -1
"""The end of a job, in place of a word."""


def record_dtype(*, numbers: str = "", flags: str = "", **arrays: tuple[int, ...]) -> np.dtype:
    """Return the type of records.

    Parameters
    ----------
    numbers, flags
        Names of int64 and of bool fields.
    arrays
        Name and extents of arrays of int64.
    """
    fields: list[tuple[str, DTypeLike, tuple[int, ...]]] = []
    fields += [(name, np.int64, ()) for name in numbers.split()]
    fields += [(name, np.int64, extents) for name, extents in arrays.items()]
    fields += [(name, np.bool_, ()) for name in flags.split()]
    return np.dtype(fields, align=True)
