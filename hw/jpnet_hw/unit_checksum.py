"""The CRC-32 of a program image, a unit of two words per cycle."""

import zlib
from collections.abc import Callable, Iterator

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from jpnet_spec.image import UNIT_WORDS

__all__ = ["UnitChecksum"]

_POLYNOMIAL = 0xEDB8_8320
_WORD_BITS = 32
_INITIAL = 0xFFFF_FFFF


class UnitChecksum(wiring.Component):
    """Update a checksum with each unit, the lower word first.

    One unit per cycle. A word's step is linear, so the two of a unit are taken at once: the upper
    word's share is computed a cycle ahead of the sum and keeps its logic off the register's loop.
    `crc` covers a unit `LATENCY` cycles after it came.

    Parameters
    ----------
    None

    Members
    -------
    start : in
        Pulse: forget all units before; the first one comes in a later cycle.
    valid, data : in, unsigned(64)
        A unit.
    crc : out, unsigned(32)
        The checksum that `zlib` gives.
    """

    LATENCY = 2

    start: Signal
    valid: Signal
    data: Signal
    crc: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "valid": In(1),
                "data": In(UNIT_WORDS * _WORD_BITS),
                "crc": Out(_WORD_BITS),
            }
        )

    @staticmethod
    def model(data: bytes) -> int:
        """Return the checksum of whole units."""
        return zlib.crc32(data)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state = Signal(_WORD_BITS, init=_INITIAL)
        lower, upper = (
            Signal(_WORD_BITS, name=name, reset_less=True) for name in ("lower", "upper")
        )
        valid_q, start_q = Signal(), Signal()
        low, high = self.data[:_WORD_BITS], self.data[_WORD_BITS:]
        # Stage 1: the upper word's share
        m.d.sync += [
            valid_q.eq(self.valid),
            start_q.eq(self.start),
            lower.eq(low),
            upper.eq(_linear(_step, high)),
        ]
        # Stage 2: the sum
        with m.If(start_q):
            m.d.sync += state.eq(_INITIAL)
        with m.Elif(valid_q):
            m.d.sync += state.eq(_linear(lambda word: _step(_step(word)), state ^ lower) ^ upper)
        m.d.comb += self.crc.eq(~state)
        return m


def _step(word: int) -> int:
    """Return what a word adds to the checksum after the next one."""
    for _ in range(_WORD_BITS):
        word = word >> 1 ^ (_POLYNOMIAL if word & 1 else 0)
    return word


def _linear(function: Callable[[int], int], value: Value) -> Value:
    """Return a linear function of a word."""
    columns = [function(1 << bit) for bit in range(_WORD_BITS)]

    def masks() -> Iterator[int]:
        for bit in range(_WORD_BITS):
            yield sum(1 << place for place, column in enumerate(columns) if column >> bit & 1)

    return Cat((value & mask).xor() for mask in masks())
