"""How functions of the cycle model are compiled."""

from collections.abc import Callable
from typing import TypeVar

from numba import njit

__all__ = ["compiled"]

_Function = TypeVar("_Function", bound=Callable)


def compiled(function: _Function) -> _Function:
    """Compile a function when it is first called, and keep it for the next process.

    There is no check for a division by zero; the model divides by extents of the accelerator.
    """
    made: _Function = njit(cache=True, error_model="numpy")(function)
    return made
