"""Magnitudes above each threshold of a quarter, summed over a group of rows."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.bit_slices import number_at, registered_slices, sliced_signals, sliced_sum
from jpnet_hw.local_register import local_register
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.numbers import INT8_MAX

__all__ = ["GROUP_ROWS", "QUARTER", "QUARTERS", "ThresholdQuarter"]

QUARTERS = 4
"""Parts of the thresholds, one of which is served a cycle."""

QUARTER = (INT8_MAX + 1) // QUARTERS
"""Thresholds of a quarter; the last one, but for the last quarter's, has its own counter."""

GROUP_ROWS = 2 * QUARTERS - 1
"""Rows of the longest group: as many as quarters, and those with which the tile's last is near."""

_HALF = 16
"""Thresholds that have the upper bits in common, two times in a quarter."""


class ThresholdQuarter(wiring.Component):
    """Count, for each of a quarter's thresholds, the magnitudes above it.

    A magnitude comes as comparisons of its halves with every constant. The sums are numbers in
    slices, as in `jpnet_hw.bit_slices`, so that one operation counts for all thresholds.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    higher, equal : in, unsigned(2) a magnitude
        Its upper three bits exceed, or equal, those of the thresholds of the quarter's halves; 0
        where it does not count.
    lower : in, unsigned(16) a magnitude
        Which constants its lower four bits exceed.
    coming : in
        A cycle less than `LATENCY` after the magnitudes: they are a row.
    coming_take : in
        With it: the row ends its group.
    coming_clear : in
        Without `coming`: there will be no group.
    border : out
        `LATENCY` cycles after the magnitudes: how many of the row exceed the last threshold.
    sums : out, an array of unsigned(32), lowest bits of all sums first
        From two cycles after `coming_take`: of the group that it ended.
    """

    LATENCY = 2

    higher: list[Signal]
    equal: list[Signal]
    lower: list[Signal]
    coming: Signal
    coming_take: Signal
    coming_clear: Signal
    border: Signal
    sums: data.View

    def __init__(self, config: AcceleratorConfig) -> None:
        self._inputs = inputs = config.lanes * config.clusters
        self._most = GROUP_ROWS * inputs
        super().__init__(
            {
                "higher": In(2).array(inputs),
                "equal": In(2).array(inputs),
                "lower": In(_HALF).array(inputs),
                "coming": In(1),
                "coming_take": In(1),
                "coming_clear": In(1),
                "border": Out(inputs.bit_length()),
                "sums": Out(data.ArrayLayout(QUARTER, self._most.bit_length())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        hits = [
            Cat(bit.replicate(_HALF) for bit in over)
            | (Cat(bit.replicate(_HALF) for bit in same) & low.replicate(QUARTER // _HALF))
            for over, same, low in zip(self.higher, self.equal, self.lower, strict=True)
        ]
        fours = []
        for index in range(0, self._inputs, 4):
            near = [[hit] for hit in hits[index : index + 4]]
            four = sliced_sum(m, near, most=len(near), name=f"near_{index}")
            fours.append(registered_slices(m, four, name=f"four_{index}"))
        all_above = sliced_sum(m, fours, most=self._inputs, name="fours")
        above = registered_slices(m, all_above, name="above")
        growing = sliced_signals(QUARTER, self._most, name="group", reset_less=True)
        taken = sliced_signals(QUARTER, self._most, name="taken", reset_less=True)
        total = sliced_sum(m, [growing, above], most=self._most, name="total")
        valid, take, clear = (local_register(1, name=name) for name in ("valid", "take", "clear"))
        m.d.sync += [
            valid.eq(self.coming),
            take.eq(self.coming_take),
            clear.eq(self.coming_take | self.coming_clear),
        ]
        for vector, grown, kept in zip(total, growing, taken, strict=True):
            with m.If(valid):
                m.d.sync += grown.eq(vector)
            with m.If(take):
                m.d.sync += kept.eq(vector)
            # Without a reset, which would have to reach as many bits.
            with m.If(clear):
                m.d.sync += grown.eq(0)
        m.d.comb += [
            self.border.eq(number_at(above, QUARTER - 1)),
            self.sums.eq(Cat(taken)),
        ]
        return m
