"""Threshold of the top-N filter, from counting magnitudes."""

from itertools import pairwise

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from jpnet_hw.bit_slices import number_at
from jpnet_hw.layouts import context_shape, struct_signal
from jpnet_hw.threshold_quarter import QUARTER, QUARTERS, ThresholdQuarter
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.numbers import INT8_MAX
from jpnet_spec.topn import ThresholdMode

__all__ = ["ThresholdCounter", "is_counting"]


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
    TILE_CYCLES = QUARTERS

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

        # Stages 2 to 4: magnitudes above each threshold, of a row and of a group
        quarters = [ThresholdQuarter(self._config) for _ in range(QUARTERS)]
        for number, part in enumerate(quarters):
            m.submodules[f"quarter_{number}"] = part
            for index in inputs:
                m.d.comb += [
                    part.higher[index].eq(higher[index].word_select(number, 2)),
                    part.equal[index].eq(equal[index].word_select(number, 2)),
                    part.lower[index].eq(lower[index]),
                ]
        row = (valids[3], tags[3])
        behind = [valid & tag.last for valid, tag in zip(valids[:2], tags, strict=False)]
        ending = self.coming_last | Cat(behind).any()
        take, coming_take, coming_clear = self._build_groups(
            m, valids[3], (valids[2], tags[2]), ending
        )
        for part in quarters:
            m.d.comb += [
                part.coming.eq(valids[2]),
                part.coming_take.eq(coming_take),
                part.coming_clear.eq(coming_clear),
            ]
        quarter = self._build_borders(m, row, take, [part.border for part in quarters[:-1]])
        negative = self._build_counters(m, row, (take, quarter), [part.sums for part in quarters])

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
        self, m: Module, valid: Value, coming: tuple[Value, data.View], coming_ending: Value
    ) -> tuple[Signal, Signal, Value]:
        """Find which row ends a group: the tile's last one, and while it is far each fourth.

        What ends a group goes everywhere, so it is found a cycle ahead.

        Returns
        -------
        Whether this row does, whether the coming one will, and whether no group will be open.
        """
        comes, tag = coming
        take, coming_take = Signal(), Signal()
        rows, busy = Signal(range(QUARTERS)), Signal(range(QUARTERS))
        next_rows, next_busy = Signal.like(rows), Signal.like(busy)
        m.d.comb += [next_rows.eq(rows), next_busy.eq(busy)]
        with m.If(busy != 0):
            m.d.comb += next_busy.eq(busy - 1)
        with m.If(valid & (rows != QUARTERS - 1)):
            m.d.comb += next_rows.eq(rows + 1)
        with m.If(take):
            m.d.comb += [next_rows.eq(0), next_busy.eq(QUARTERS - 1)]
        full = (next_rows == QUARTERS - 1) & (next_busy == 0) & ~coming_ending
        m.d.comb += coming_take.eq(comes & (tag.last | full))
        m.d.sync += [rows.eq(next_rows), busy.eq(next_busy), take.eq(coming_take)]
        return take, coming_take, ~comes & (next_rows == 0)

    def _build_borders(
        self, m: Module, row: tuple[Value, data.View], take: Signal, sums: list[Signal]
    ) -> Signal:
        """Stage 4: count row by row between the quarters.

        Returns
        -------
        Which quarter is served: the one that the threshold is in, and then the others in turn.
        """
        valid, tag = row
        width = self._count_width + 1
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
        quarter = Signal(range(QUARTERS), reset_less=True)
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

    def _build_counters(
        self,
        m: Module,
        row: tuple[Value, data.View],
        group: tuple[Signal, Signal],
        sums: list[data.View],
    ) -> Signal:
        """Stage 5: lower one quarter's counters by the group's sums; return which are negative."""
        valid, tag = row
        take, quarter = group
        width, fine = self._count_width + 1, QUARTER - 1
        counters: memory.Memory = memory.Memory(
            shape=unsigned(width * fine), depth=QUARTERS * 2 ** len(tag.context), init=[]
        )
        m.submodules.counters = counters
        write, read = counters.write_port(), counters.read_port(domain="comb")
        # The group of this row, and the one that is taken off.
        growing, taken = (
            struct_signal(self._group_layout(), name=name, reset_less=True)
            for name in ("growing", "taken")
        )
        present = struct_signal(self._group_layout())
        active, place = Signal(), Signal(range(QUARTERS), reset_less=True)
        m.d.comb += present.eq(growing)
        with m.If(tag.first):
            m.d.comb += [present.opens.eq(tag.opens), present.winners.eq(tag.winners)]
        m.d.comb += present.context.eq(tag.context)
        m.d.sync += place.eq(place + 1)
        with m.If(place == QUARTERS - 1):
            m.d.sync += active.eq(0)
        with m.If(valid):
            m.d.sync += [growing.eq(present), growing.opens.eq(present.opens & ~take)]
        with m.If(take):
            m.d.sync += [taken.eq(present), active.eq(1), place.eq(0)]

        negative = Signal(fine, reset_less=True)
        served = [Signal(QUARTER, name=f"served_{place}") for place in range(len(sums[0]))]
        m.d.comb += [
            part.eq(Array(of_quarter[place] for of_quarter in sums)[quarter])
            for place, part in enumerate(served)
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
