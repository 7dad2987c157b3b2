"""What the compiler says when a network does not fit."""

from collections.abc import Callable
from functools import cached_property

__all__ = ["AdvisedError", "CompileError", "check_depth"]


class CompileError(ValueError):
    """A network that this accelerator cannot run; the message names layer, memory and need."""


class AdvisedError(CompileError):
    """A refusal with advice, which is only sought when the message is read: that takes seconds.

    Parameters
    ----------
    reason
        What does not fit.
    presets_that_fit
        Returns the names of the presets that would do.
    """

    def __init__(self, reason: str, presets_that_fit: Callable[[], list[str]]) -> None:
        super().__init__(reason)
        self._reason = reason
        self._presets_that_fit = presets_that_fit

    def __str__(self) -> str:
        return f"{self._reason}; {self._advice}"

    @cached_property
    def _advice(self) -> str:
        fitting = self._presets_that_fit()
        return f"it fits {', '.join(fitting)}" if fitting else "no preset is large enough"


def check_depth(memory: str, need: int, have: int) -> None:
    """Refuse a memory that is too small.

    Raises
    ------
    CompileError
        If more is needed than there is.
    """
    if need > have:
        raise CompileError(f"{memory} needs a depth of {need}, the configuration has {have}")
