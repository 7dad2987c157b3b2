"""Sums of a few bits without a carry chain.

On an FPGA a chain costs more than it saves where it is short: it has an entry and an exit, and the
logic in front of it cannot be merged with it.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Value

__all__ = ["rippled", "rippled_sum"]


def rippled(a: Value, b: Value) -> Value:
    """Return the sum of two unsigned values, one bit wider than the wider one."""
    carry: Value = Const(0, 1)
    bits: list[Value] = []
    for place in range(max(len(a), len(b))):
        x, y = (value[place] if place < len(value) else Const(0, 1) for value in (a, b))
        bits.append(x ^ y ^ carry)
        carry = (x & y) | (carry & (x | y))
    return Cat(*bits, carry)


def rippled_sum(terms: Sequence[Value]) -> Value:
    """Return the sum of unsigned values, added in pairs."""
    while len(terms) > 1:
        pairs = [terms[index : index + 2] for index in range(0, len(terms), 2)]
        terms = [rippled(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return terms[0]
