"""A stream cut in two by registers, both ways."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.layouts import struct_signal

__all__ = ["RegisterSlice", "two_item_handshake"]


def two_item_handshake(m: Module, i: stream.Interface, o: stream.Interface) -> tuple[Signal, Value]:
    """Answer both sides of a stream out of registers, for a part that holds two items.

    Returns
    -------
    Whether it holds two, and whether another item may go out in the next cycle.
    """
    # `ready` is ``~full``, in a register of its own: what follows it is a long path.
    full, ready, valid = Signal(), Signal(init=1), Signal()
    moves = ~valid | o.ready
    m.d.comb += [i.ready.eq(ready), o.valid.eq(valid)]
    with m.If(moves):
        m.d.sync += [full.eq(0), ready.eq(1), valid.eq(full | i.valid)]
    with m.Elif(~full):
        m.d.sync += [full.eq(i.valid), ready.eq(~i.valid)]
    return full, moves


class RegisterSlice(wiring.Component):
    """Delay a stream by a cycle; everything that goes out, either way, comes from registers.

    Holds two items, and so passes one a cycle.

    Parameters
    ----------
    shape
        The stream's payload.

    Members
    -------
    i, o : streams
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: data.Layout) -> None:
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = struct_signal(self._shape, name="held", reset_less=True)
        item = struct_signal(self._shape, name="item", reset_less=True)
        full, moves = two_item_handshake(m, self.i, self.o)
        m.d.comb += self.o.payload.eq(item)
        with m.If(moves):
            m.d.sync += item.eq(Mux(full, Value.cast(held), Value.cast(self.i.payload)))
        with m.If(~full):
            m.d.sync += held.eq(self.i.payload)
        return m
