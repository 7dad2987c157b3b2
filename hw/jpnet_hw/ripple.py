"""Sums of a few bits without a carry chain.

On an FPGA a chain costs more than it saves where it is short: it has an entry and an exit, and the
logic in front of it cannot be merged with it.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value

__all__ = ["rippled", "rippled_sum"]


def rippled(a: Value, b: Value) -> Value:
    """Return the sum of two unsigned values, one bit wider than the wider one.

    Amaranth writes an expression out wherever it is used: sums of sums grow beyond measure unless
    the values are signals.
    """
    short, long = sorted((a, b), key=len)
    carry: Value = Const(0, 1)
    bits: list[Value] = []
    for place, x in enumerate(long):
        if place < len(short):
            y = short[place]
            bits.append(x ^ y ^ carry)
            carry = (x & y) | (carry & (x | y))
        else:
            bits.append(x ^ carry)
            carry = x & carry
    return Cat(*bits, carry)


def rippled_sum(m: Module, terms: Sequence[Value], *, name: str) -> Value:
    """Return the sum of unsigned values, added in pairs.

    Parameters
    ----------
    m
        Gets the sums of the pairs.
    terms
        At least one.
    name
        Of the pairs' sums, which get a number each.
    """
    level = list(terms)
    made = 0
    while len(level) > 1:
        sums: list[Value] = []
        for a, b in zip(level[::2], level[1::2], strict=False):
            pair = Signal(max(len(a), len(b)) + 1, name=f"{name}_{made}")
            m.d.comb += pair.eq(rippled(a, b))
            sums.append(pair)
            made += 1
        level = sums + level[len(sums) * 2 :]
    return level[0]
