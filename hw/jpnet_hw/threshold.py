"""Threshold of the top-N filter, from counting magnitudes."""

from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from jpnet_hw.layouts import context_shape, struct_signal
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.numbers import INT8_MAX

__all__ = ["ThresholdCounter"]


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


class ThresholdCounter(wiring.Component):
    """The smallest t with ``count(|a| > t) <= N`` over the counted magnitudes of a tensor.

    For each t from 0 to 126 a counter starts at N and falls by the counted magnitudes above t; it
    stays once it is negative, so any number of elements may come. The threshold is the number of
    negative counters, 0 to 127. One row of magnitudes per cycle, no stalls; the threshold
    is valid `LATENCY` cycles after the last row and holds for at least one cycle; the next
    tensor's first row may follow in the cycle after the last.

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
        It is the tile's first or last.
    opens : in
        With `first`: the tensor's first tile. Other tiles go on from their context's last one.
    closes : in
        With `last`: the tensor's last tile.
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

    valid: Signal
    first: Signal
    last: Signal
    opens: Signal
    closes: Signal
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
        exceeded = Signal(INT8_MAX, reset_less=True)
        most = 1 << (self._count_width - 1)
        tags = [
            struct_signal(self._tag_layout(), name=f"tag_{stage}", reset_less=True)
            for stage in range(4)
        ]
        valids = Signal(4)
        closed_q = Signal(self.LATENCY)
        m.d.comb += [
            tags[0].first.eq(self.first),
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
        sums = []
        for t in range(INT8_MAX):
            sixteenth, place = divmod(t, 16)
            fours = []
            for index in range(0, len(inputs), 4):
                hits = [
                    higher[near][sixteenth] | (equal[near][sixteenth] & lower[near][place])
                    for near in inputs[index : index + 4]
                ]
                four = Signal(range(len(hits) + 1), name=f"four_{t}_{index}", reset_less=True)
                m.d.sync += four.eq(reduce(add, hits))
                fours.append(four)
            above = Signal(range(len(inputs) + 1), name=f"above_{t}", reset_less=True)
            m.d.sync += above.eq(reduce(add, fours))
            sums.append(above)
        self._build_counters(m, (valids[3], tags[3]), sums, exceeded)

        # Stage 5: each sixteenth, and which of them. Stage 6: the threshold
        parts = struct_signal(data.ArrayLayout(4, 8), reset_less=True)
        part = Signal(3, reset_less=True)
        m.d.sync += part.eq(_count_ones([exceeded[t] for t in range(15, INT8_MAX, 16)]))
        for index in range(8):
            m.d.sync += parts[index].eq(
                _count_ones([exceeded[t] for t in range(16 * index, 16 * index + 15)])
            )
        m.d.sync += self.theta.eq(Cat(parts[part], part))
        m.d.comb += [
            self.almost.eq(closed_q[self.LATENCY - self.ALMOST_CYCLES - 1]),
            self.done.eq(closed_q[-1]),
        ]
        return m

    def _tag_layout(self) -> data.StructLayout:
        return data.StructLayout(
            {
                "first": unsigned(1),
                "opens": unsigned(1),
                "context": context_shape(self._config),
                "winners": unsigned(self._count_width),
            }
        )

    def _build_counters(
        self, m: Module, row: tuple[Value, data.View], sums: list[Signal], exceeded: Signal
    ) -> None:
        """Stage 4: lower the row's context's counters and tell which of them are negative."""
        valid, tag = row
        width = self._count_width + 1
        counters: memory.Memory = memory.Memory(
            shape=unsigned(width * len(sums)), depth=2 ** len(tag.context), init=[]
        )
        m.submodules.counters = counters
        write, read = counters.write_port(), counters.read_port(domain="comb")
        following = []
        for t, above in enumerate(sums):
            before = Signal(signed(width), name=f"before_{t}")
            after = Signal(signed(width), name=f"after_{t}")
            kept = read.data.word_select(t, width).as_signed()
            m.d.comb += [
                before.eq(Mux(tag.first & tag.opens, tag.winners, kept)),
                after.eq(before - Mux(before[-1], 0, above)),
            ]
            following.append(after)
        m.d.comb += [
            read.addr.eq(tag.context),
            write.addr.eq(tag.context),
            write.en.eq(valid),
            write.data.eq(Cat(following)),
        ]
        m.d.sync += exceeded.eq(Cat(after[-1] for after in following))
