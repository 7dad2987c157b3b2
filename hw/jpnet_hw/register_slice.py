"""A stream cut in two by registers, both ways."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.layouts import struct_signal

__all__ = ["RegisterSlice"]


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
        # `ready` is ``~full``, in a register of its own: what follows it is a long path.
        full, ready, valid = Signal(), Signal(init=1), Signal()
        m.d.comb += [
            self.i.ready.eq(ready),
            self.o.valid.eq(valid),
            self.o.payload.eq(item),
        ]
        with m.If(~valid | self.o.ready):
            m.d.sync += [
                full.eq(0),
                ready.eq(1),
                valid.eq(full | self.i.valid),
                item.eq(Mux(full, Value.cast(held), Value.cast(self.i.payload))),
            ]
        with m.Elif(~full):
            m.d.sync += [full.eq(self.i.valid), ready.eq(~self.i.valid)]
        with m.If(~full):
            m.d.sync += held.eq(self.i.payload)
        return m
