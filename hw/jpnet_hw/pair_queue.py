"""A stream delayed by a cycle through two places that are used in turn."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.layouts import struct_signal
from jpnet_hw.register_slice import two_item_handshake

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
        full, _ = two_item_handshake(m, self.i, self.o)
        m.d.comb += self.o.payload.eq(Mux(going, Value.cast(places[1]), Value.cast(places[0])))
        for number, place in enumerate(places):
            with m.If((coming == number) & ~full):
                m.d.sync += place.eq(self.i.payload)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += coming.eq(~coming)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += going.eq(~going)
        return m
