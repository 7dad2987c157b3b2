"""Threshold of the top-N filter, from counting magnitudes."""

from itertools import pairwise

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from jpnet_hw.bit_slices import number_at, registered_slices, sliced_signals, sliced_sum
from jpnet_hw.layouts import context_shape, struct_signal
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.numbers import INT8_MAX
from jpnet_spec.topn import ThresholdMode

__all__ = ["ThresholdCounter", "is_counting"]

_QUARTERS = 4
"""Parts of the thresholds, one of which is served a cycle."""

_QUARTER = (INT8_MAX + 1) // _QUARTERS
"""Thresholds of a quarter; the last one, but for the last quarter's, has its own counter."""

_GROUP_ROWS = 2 * _QUARTERS - 1
"""Rows of the longest group: as many as quarters, and those with which the tile's last is near."""


def is_counting(mode: Value) -> Value:
    """Return whether a threshold of that mode comes from counting."""
    return (mode == ThresholdMode.EXACT) | (mode == ThresholdMode.SAMPLED)


def _count_ones(flags: list[Value]) -> Value:
    """Return how many of ``2**n - 1`` flags are set, all the set ones before the others."""
    middle = flags[len(flags) // 2]
    if len(flags) == 1:
        return middle
    half = len(flags) // 2
    lower, upper = flags[:half], flags[half + 1 :]
    chosen = [Mux(middle, high, low) for low, high in zip(lower, upper, strict=True)]
    return Cat(_count_ones(chosen), middle)


def _exceeded(value: Value) -> Value:
    """Return one bit for each constant: whether the value exceeds it."""
    flags = []
    for constant in range(1 << len(value)):
        flag: Value = Const(0, 1)
        for place in range(len(value)):
            flag = value[place] & flag if constant >> place & 1 else value[place] | flag
        flags.append(flag)
    return Cat(flags)


def _lowered(counter: Value, count: Value) -> Value:
    """Return a signed counter less a count, or unchanged if it is negative."""
    return (counter - Mux(counter[-1], 0, count))[: len(counter)]


class ThresholdCounter(wiring.Component):
    """The smallest t with ``count(|a| > t) <= N`` over the counted magnitudes of a tensor.

    For each t from 0 to 126 a counter starts at N and falls by the counted magnitudes above t; it
    stays once it is negative, so any number of elements may come. The threshold is the number of
    negative counters, 0 to 127. One row of magnitudes per cycle, no stalls; the threshold
    is valid `LATENCY` cycles after the last row and holds for at least one cycle; the next
    tensor's first row may follow in the cycle after the last.

    Three counters, one between neighbouring quarters of the thresholds, follow row by row. For
    the others the rows of a group are summed in a few bits, and the groups' sums are taken off the
    counters a quarter of them a cycle, first in the quarter that the three tell.

    Parameters
    ----------
    config
        The accelerator.
    count_width
        Bits of a counter without its sign; thresholds are exact for tensors of up to
        ``2**(count_width - 1)`` elements, and for larger ones with fewer winners than that.

    Members
    -------
    valid : in
        A row is there.
    first, last : in
        It is the tile's first or last. Last rows are at least `TILE_CYCLES` cycles apart.
    opens : in
        With `first`: the tensor's first tile. Other tiles go on from their context's last one.
    closes : in
        With `last`: the tensor's last tile.
    coming_last : in
        A row comes in the next cycle and is the tile's last.
    context : in
        Whose row it is.
    counted : in, unsigned(lanes * clusters)
        Which of its magnitudes count; all in the exact mode, some in the sampled one.
    magnitudes : in, array of ``lanes * clusters`` unsigned(7)
    winners : in, unsigned(24)
        N; whatever exceeds ``2**(count_width - 1)`` counts as that. Sampled with the first row.
    almost : out
        `ALMOST_CYCLES` before `done`.
    done : out
        One-cycle pulse, `LATENCY` cycles after the last tile's last row.
    theta : out, unsigned(7)
        Valid with `done`.
    """

    LATENCY = 6
    ALMOST_CYCLES = 4
    TILE_CYCLES = _QUARTERS

    valid: Signal
    first: Signal
    last: Signal
    opens: Signal
    closes: Signal
    coming_last: Signal
    context: Signal
    counted: Signal
    magnitudes: data.View
    winners: Signal
    almost: Signal
    done: Signal
    theta: Signal

    def __init__(self, config: AcceleratorConfig, *, count_width: int = 17) -> None:
        self._config = config
        self._count_width = count_width
        inputs = config.lanes * config.clusters
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "opens": In(1),
                "closes": In(1),
                "coming_last": In(1),
                "context": In(context_shape(config)),
                "counted": In(inputs),
                "magnitudes": In(data.ArrayLayout(unsigned(7), inputs)),
                "winners": In(24),
                "almost": Out(1),
                "done": Out(1),
                "theta": Out(7),
            }
        )

    @staticmethod
    def model(magnitudes: NDArray[np.int64], counted: NDArray[np.bool_], winners: int) -> int:
        """Return the threshold of one tensor.

        Parameters
        ----------
        magnitudes : int64, shape (rows, lanes)
        counted : bool, shape (rows, lanes)
        winners
            N.
        """
        kept = magnitudes[counted]
        return next(t for t in range(INT8_MAX + 1) if int((kept > t).sum()) <= winners)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inputs = range(self._config.lanes * self._config.clusters)
        most = 1 << (self._count_width - 1)
        tags = [
            struct_signal(self._tag_layout(), name=f"tag_{stage}", reset_less=True)
            for stage in range(4)
        ]
        valids = Signal(4)
        closed_q = Signal(self.LATENCY)
        m.d.comb += [
            tags[0].first.eq(self.first),
            tags[0].last.eq(self.last),
            tags[0].opens.eq(self.opens),
            tags[0].context.eq(self.context),
            tags[0].winners.eq(Mux(self.winners > most, most, self.winners)),
            valids[0].eq(self.valid),
        ]
        m.d.sync += [
            *(new.eq(old) for old, new in pairwise(tags)),
            valids[1:].eq(valids),
            closed_q.eq(Cat(self.valid & self.last & self.closes, closed_q)),
        ]

        # Stage 1: both halves of each magnitude, compared with every constant
        higher = [Signal(8, name=f"higher_{index}", reset_less=True) for index in inputs]
        equal = [Signal(8, name=f"equal_{index}", reset_less=True) for index in inputs]
        lower = [Signal(16, name=f"lower_{index}", reset_less=True) for index in inputs]
        for index in inputs:
            low, high = self.magnitudes[index][:4], self.magnitudes[index][4:]
            counted = self.counted[index]
            m.d.sync += [
                higher[index].eq(Mux(counted, _exceeded(high), 0)),
                equal[index].eq(Mux(counted, 1 << high, 0)),
                lower[index].eq(_exceeded(low)),
            ]

        # Stages 2 and 3: magnitudes above each t, by fours and together
        hits = [
            Cat(bit.replicate(16) for bit in over)
            | (Cat(bit.replicate(16) for bit in same) & low.replicate(8))
            for over, same, low in zip(higher, equal, lower, strict=True)
        ]
        fours = []
        for index in range(0, len(inputs), 4):
            near = [[hit] for hit in hits[index : index + 4]]
            four = sliced_sum(m, near, most=len(near), name=f"near_{index}")
            fours.append(registered_slices(m, four, name=f"four_{index}"))
        all_above = sliced_sum(m, fours, most=len(inputs), name="fours")
        above = registered_slices(m, all_above, name="above")
        row = (valids[3], tags[3])
        # A cycle ahead: what ends a group goes everywhere.
        behind = [valid & tag.last for valid, tag in zip(valids[:2], tags, strict=False)]
        ending = Signal(reset_less=True)
        m.d.sync += ending.eq(self.coming_last | Cat(behind).any())
        take, empty = self._build_groups(m, row, ending)
        quarter = self._build_borders(m, row, take, above)
        negative = self._build_counters(m, row, (take, empty, quarter), above)

        # Stage 6: the threshold
        quarter_q = Signal.like(quarter, reset_less=True)
        m.d.sync += [
            quarter_q.eq(quarter),
            self.theta.eq(Cat(_count_ones(list(negative)), quarter_q)),
        ]
        m.d.comb += [
            self.almost.eq(closed_q[self.LATENCY - self.ALMOST_CYCLES - 1]),
            self.done.eq(closed_q[-1]),
        ]
        return m

    def _tag_layout(self) -> data.StructLayout:
        return data.StructLayout(
            {
                "first": unsigned(1),
                "last": unsigned(1),
                "opens": unsigned(1),
                "context": context_shape(self._config),
                "winners": unsigned(self._count_width),
            }
        )

    def _build_groups(
        self, m: Module, row: tuple[Value, data.View], ending: Signal
    ) -> tuple[Signal, Value]:
        """Find which row ends a group: the tile's last one, and while it is far each fourth.

        Returns
        -------
        Whether this row does, and whether no group is open.
        """
        valid, tag = row
        take, full = Signal(), Signal()
        rows, busy = Signal(range(_QUARTERS)), Signal(range(_QUARTERS))
        m.d.comb += [
            full.eq((rows == _QUARTERS - 1) & (busy == 0) & ~ending),
            take.eq(valid & (tag.last | full)),
        ]
        with m.If(busy != 0):
            m.d.sync += busy.eq(busy - 1)
        with m.If(valid & (rows != _QUARTERS - 1)):
            m.d.sync += rows.eq(rows + 1)
        with m.If(take):
            m.d.sync += [rows.eq(0), busy.eq(_QUARTERS - 1)]
        return take, ~valid & (rows == 0)

    def _build_borders(
        self, m: Module, row: tuple[Value, data.View], take: Signal, above: list[Signal]
    ) -> Signal:
        """Stage 4: count row by row between the quarters.

        Returns
        -------
        Which quarter is served: the one that the threshold is in, and then the others in turn.
        """
        valid, tag = row
        width = self._count_width + 1
        sums = [number_at(above, border) for border in range(_QUARTER - 1, INT8_MAX, _QUARTER)]
        counters: memory.Memory = memory.Memory(
            shape=unsigned(width * len(sums)), depth=2 ** len(tag.context), init=[]
        )
        m.submodules.borders = counters
        write, read = counters.write_port(), counters.read_port(domain="comb")
        opening = tag.first & tag.opens
        kept = [read.data.word_select(index, width) for index in range(len(sums))]
        after = [
            _lowered(Mux(opening, Cat(tag.winners, 0), count), fall)
            for count, fall in zip(kept, sums, strict=True)
        ]
        quarter = Signal(range(_QUARTERS), reset_less=True)
        m.d.comb += [
            read.addr.eq(tag.context),
            write.addr.eq(tag.context),
            write.en.eq(valid),
            write.data.eq(Cat(after)),
        ]
        m.d.sync += quarter.eq(quarter + 1)
        with m.If(take):
            m.d.sync += quarter.eq(_count_ones([value[-1] for value in after]))
        return quarter

    def _build_group_sums(
        self, m: Module, valid: Value, levels: tuple[Signal, Value], above: list[Signal]
    ) -> list[Signal]:
        """Stage 4: sum each group's rows and keep the sums while they are taken off."""
        take, empty = levels
        most = _GROUP_ROWS * self._config.lanes * self._config.clusters
        growing = sliced_signals(len(above[0]), most, name="group", reset_less=True)
        taken = sliced_signals(len(above[0]), most, name="taken_group", reset_less=True)
        total = sliced_sum(m, [growing, above], most=most, name="total")
        for vector, grown, kept in zip(total, growing, taken, strict=True):
            with m.If(valid):
                m.d.sync += grown.eq(vector)
            with m.If(take):
                m.d.sync += kept.eq(vector)
            # Without a reset, which would have to reach as many bits.
            with m.If(take | empty):
                m.d.sync += grown.eq(0)
        return taken

    def _build_counters(
        self,
        m: Module,
        row: tuple[Value, data.View],
        group: tuple[Signal, Value, Signal],
        above: list[Signal],
    ) -> Signal:
        """Stage 5: lower one quarter's counters by the group's sums; return which are negative."""
        valid, tag = row
        take, empty, quarter = group
        width, fine = self._count_width + 1, _QUARTER - 1
        counters: memory.Memory = memory.Memory(
            shape=unsigned(width * fine), depth=_QUARTERS * 2 ** len(tag.context), init=[]
        )
        m.submodules.counters = counters
        write, read = counters.write_port(), counters.read_port(domain="comb")
        sums = self._build_group_sums(m, valid, (take, empty), above)
        # The group of this row, and the one that is taken off.
        growing, taken = (
            struct_signal(self._group_layout(), name=name, reset_less=True)
            for name in ("growing", "taken")
        )
        present = struct_signal(self._group_layout())
        active, place = Signal(), Signal(range(_QUARTERS), reset_less=True)
        m.d.comb += present.eq(growing)
        with m.If(tag.first):
            m.d.comb += [present.opens.eq(tag.opens), present.winners.eq(tag.winners)]
        m.d.comb += present.context.eq(tag.context)
        m.d.sync += place.eq(place + 1)
        with m.If(place == _QUARTERS - 1):
            m.d.sync += active.eq(0)
        with m.If(valid):
            m.d.sync += [growing.eq(present), growing.opens.eq(present.opens & ~take)]
        with m.If(take):
            m.d.sync += [taken.eq(present), active.eq(1), place.eq(0)]

        negative = Signal(fine, reset_less=True)
        served = [Signal(_QUARTER, name=f"served_{place}") for place in range(len(sums))]
        m.d.comb += [
            part.eq(vector.word_select(quarter, _QUARTER))
            for part, vector in zip(served, sums, strict=True)
        ]
        following = []
        for index in range(fine):
            before = Signal(width, name=f"before_{index}")
            m.d.comb += before.eq(
                Mux(taken.opens, taken.winners, read.data.word_select(index, width))
            )
            following.append(_lowered(before, number_at(served, index)))
        m.d.comb += [
            read.addr.eq(Cat(quarter, taken.context)),
            write.addr.eq(read.addr),
            write.en.eq(active),
            write.data.eq(Cat(following)),
        ]
        m.d.sync += negative.eq(Cat(value[-1] for value in following))
        return negative

    def _group_layout(self) -> data.StructLayout:
        """Return what is known of a group: whose it is, and whether and how its tensor begins."""
        return data.StructLayout(
            {
                "opens": unsigned(1),
                "context": context_shape(self._config),
                "winners": unsigned(self._count_width),
            }
        )
