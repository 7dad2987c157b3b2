"""How functions of the cycle model are compiled, and where the result is kept."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["compiled", "kept_compiled"]

_Function = TypeVar("_Function", bound=Callable)


def compiled(function: _Function) -> _Function:
    """Compile a function that compiled functions call.

    Its arrays belong to the caller, so references are not counted, which takes half of the time.
    There is no check for a division by zero; the model divides by extents of the accelerator.
    """
    options: dict[str, Any] = {
        "error_model": "numpy",
        "forceinline": True,
        "_nrt": False,
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
    }
    return cast(_Function, njit(**options)(function))


def kept_compiled(make_entry: Callable[[str], Callable[..., int]]) -> Callable[..., int]:
    """Return an entry to a compiled function, kept for the next process.

    Numba looks at no file but the entry's own to find out whether what it kept is stale, so the
    entry refers to a digest of all files of the model. It keeps nothing for entries that refer to
    a compiled function but as a global one of their module.

    Parameters
    ----------
    make_entry
        Returns a function of one tuple of arguments that refers to the digest it is given.
    """
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    made = njit(cache=True, error_model="numpy")(make_entry(digest))
    return lambda *arguments: int(made(arguments))
