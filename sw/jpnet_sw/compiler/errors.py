"""What the compiler says when a network does not fit."""

__all__ = ["CompileError", "check_depth"]


class CompileError(ValueError):
    """A network that this accelerator cannot run; the message names layer, memory and need."""


def check_depth(memory: str, need: int, have: int) -> None:
    """Refuse a memory that is too small.

    Raises
    ------
    CompileError
        If more is needed than there is.
    """
    if need > have:
        raise CompileError(f"{memory} needs a depth of {need}, the configuration has {have}")
