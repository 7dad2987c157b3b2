"""A stream delayed by a cycle through two places that are used in turn."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.layouts import struct_signal

__all__ = ["PairQueue"]


class PairQueue(wiring.Component):
    """Delay a stream by a cycle; who takes from it enables no register of the payload.

    As `jpnet_hw.register_slice.RegisterSlice`, cycle by cycle, for wide payloads whose taker is
    far away: its `ready` goes to a few bits only. In return the payload comes out behind a choice
    of two.

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
        places = [
            struct_signal(self._shape, name=f"place_{number}", reset_less=True)
            for number in range(2)
        ]
        coming, going = Signal(), Signal()
        # Of `full`, a register of its own says whether there is room.
        full, ready, valid = Signal(), Signal(init=1), Signal()
        m.d.comb += [
            self.i.ready.eq(ready),
            self.o.valid.eq(valid),
            self.o.payload.eq(Mux(going, Value.cast(places[1]), Value.cast(places[0]))),
        ]
        for number, place in enumerate(places):
            with m.If((coming == number) & ~full):
                m.d.sync += place.eq(self.i.payload)
        with m.If(self.i.valid & ready):
            m.d.sync += coming.eq(~coming)
        with m.If(valid & self.o.ready):
            m.d.sync += going.eq(~going)
        with m.If(~valid | self.o.ready):
            m.d.sync += [full.eq(0), ready.eq(1), valid.eq(full | self.i.valid)]
        with m.Elif(~full):
            m.d.sync += [full.eq(self.i.valid), ready.eq(~self.i.valid)]
        return m
