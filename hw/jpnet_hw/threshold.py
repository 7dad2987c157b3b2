"""Threshold of the top-N filter, from counting magnitudes."""

from functools import reduce
from operator import add

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from jpnet_hw.layouts import struct_signal
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
    negative counters, 0 to 127. One row of `lanes` magnitudes per cycle, no stalls; the threshold
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
        It is the tensor's first or last.
    counted : in, unsigned(lanes)
        Which of its magnitudes count; all in the exact mode, some in the sampled one.
    magnitudes : in, array of `lanes` unsigned(7)
    winners : in, unsigned(24)
        N; whatever exceeds ``2**(count_width - 1)`` counts as that. Sampled with the first row.
    almost : out
        The cycle before `done`.
    done : out
        One-cycle pulse, `LATENCY` cycles after the last row.
    theta : out, unsigned(7)
        Valid with `done`.
    """

    LATENCY = 5

    valid: Signal
    first: Signal
    last: Signal
    counted: Signal
    magnitudes: data.View
    winners: Signal
    almost: Signal
    done: Signal
    theta: Signal

    def __init__(self, config: AcceleratorConfig, *, count_width: int = 17) -> None:
        self._config = config
        self._count_width = count_width
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "counted": In(config.lanes),
                "magnitudes": In(data.ArrayLayout(unsigned(7), config.lanes)),
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
        lanes = range(self._config.lanes)
        valid_q, first_q = Signal(), Signal(reset_less=True)
        last_q = Signal(self.LATENCY)
        winners_q = Signal(self._count_width, reset_less=True)
        exceeded = Signal(INT8_MAX)
        most = 1 << (self._count_width - 1)

        # Stage 1: both halves of each magnitude, compared with every constant
        valid_1, first_1 = Signal(), Signal(reset_less=True)
        winners_1 = Signal(self._count_width, reset_less=True)
        higher = [Signal(8, name=f"higher_{lane}", reset_less=True) for lane in lanes]
        equal = [Signal(8, name=f"equal_{lane}", reset_less=True) for lane in lanes]
        lower = [Signal(16, name=f"lower_{lane}", reset_less=True) for lane in lanes]
        m.d.sync += [
            valid_1.eq(self.valid),
            first_1.eq(self.first),
            last_q.eq(Cat(self.valid & self.last, last_q)),
            winners_1.eq(Mux(self.winners > most, most, self.winners)),
        ]
        for lane in lanes:
            low, high = self.magnitudes[lane][:4], self.magnitudes[lane][4:]
            counted = self.counted[lane]
            m.d.sync += [
                higher[lane].eq(Mux(counted, _exceeded(high), 0)),
                equal[lane].eq(Mux(counted, 1 << high, 0)),
                lower[lane].eq(_exceeded(low)),
            ]

        # Stage 2: magnitudes above each t
        m.d.sync += [valid_q.eq(valid_1), first_q.eq(first_1), winners_q.eq(winners_1)]
        for t in range(INT8_MAX):
            above = Signal(range(self._config.lanes + 1), name=f"above_{t}", reset_less=True)
            sixteenth, place = divmod(t, 16)
            hits = [
                higher[lane][sixteenth] | (equal[lane][sixteenth] & lower[lane][place])
                for lane in lanes
            ]
            m.d.sync += above.eq(reduce(add, hits))

            # Stage 3: counters
            left = Signal(signed(self._count_width + 1), name=f"left_{t}", reset_less=True)
            fall = Mux(first_q | ~left[-1], above, 0)
            m.d.comb += exceeded[t].eq(left[-1])
            with m.If(valid_q):
                m.d.sync += left.eq(Mux(first_q, winners_q, left) - fall)

        # Stage 4: each sixteenth, and which of them. Stage 5: the threshold
        parts = struct_signal(data.ArrayLayout(4, 8), reset_less=True)
        part = Signal(3, reset_less=True)
        m.d.sync += part.eq(_count_ones([exceeded[t] for t in range(15, INT8_MAX, 16)]))
        for index in range(8):
            m.d.sync += parts[index].eq(
                _count_ones([exceeded[t] for t in range(16 * index, 16 * index + 15)])
            )
        m.d.sync += self.theta.eq(Cat(parts[part], part))
        m.d.comb += [self.almost.eq(last_q[-2]), self.done.eq(last_q[-1])]
        return m
