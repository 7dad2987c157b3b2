"""Cuts beats of the bus into the loader's units, or puts units together from beats."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.skid_buffer import SkidBuffer
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import UNIT_WORDS

__all__ = ["BeatUnits"]

_UNIT_BITS = 32 * UNIT_WORDS


class BeatUnits(wiring.Component):
    """Give a unit per cycle, the lowest bits of a beat first.

    A unit leaves in the cycle after its last beat came. `i.ready` does not depend on `o.ready` in
    the same cycle: one beat is kept in front.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    i : in, stream of unsigned(axi_data_width)
        Beats.
    o : out, stream of unsigned(64)
        Units.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: AcceleratorConfig) -> None:
        self._width = config.axi_data_width
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(self._width))),
                "o": Out(stream.Signature(unsigned(_UNIT_BITS))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.skid = skid = SkidBuffer(unsigned(self._width))
        wiring.connect(m, wiring.flipped(self.i), skid.i)
        if self._width < _UNIT_BITS:
            self._build_join(m, skid.o)
        else:
            self._build_cut(m, skid.o)
        return m

    def _build_cut(self, m: Module, beats: stream.Interface) -> None:
        units = self._width // _UNIT_BITS
        beat = Signal(self._width, reset_less=True)
        count = Signal(range(units + 1))
        m.d.comb += [
            self.o.valid.eq(count != 0),
            self.o.payload.eq(beat),
            beats.ready.eq((count == 0) | ((count == 1) & self.o.ready)),
        ]
        if units > 1:
            with m.If(self.o.ready):
                m.d.sync += [beat.eq(beat >> _UNIT_BITS), count.eq(count - 1)]
        with m.If(beats.ready):
            m.d.sync += [beat.eq(beats.payload), count.eq(Mux(beats.valid, units, 0))]

    def _build_join(self, m: Module, beats: stream.Interface) -> None:
        needed = _UNIT_BITS // self._width
        unit = Signal(_UNIT_BITS, reset_less=True)
        count = Signal(range(needed + 1))
        m.d.comb += [
            self.o.valid.eq(count == needed),
            self.o.payload.eq(unit),
            beats.ready.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(beats.ready):
            m.d.sync += count.eq(Mux(self.o.valid, 0, count) + beats.valid)
            with m.If(beats.valid):
                m.d.sync += unit.eq(Cat(unit[self._width :], beats.payload))
