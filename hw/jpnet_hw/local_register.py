"""Registers that equal parts do not share."""

from amaranth.hdl import Shape, Signal

__all__ = ["local_register"]


def local_register(shape: Shape | int, *, name: str) -> Signal:
    """Return a signal without reset whose register synthesis does not share with an equal one.

    A register that many parts have alike is one for all to synthesis, somewhere between them: the
    wires to the parts then take more time than their logic. This one lies beside its part.
    """
    return Signal(shape, name=name, reset_less=True, attrs={"keep": "1"})
