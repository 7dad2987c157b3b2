"""Sums of a few bits, many of them at a time, without a carry chain.

Many equally wide numbers are a list of vectors: the first has the lowest bit of each number, the
second the next one, and so on. So few operations on wide vectors add all of them: that is much
shorter Verilog than many small sums, and the same logic.

On an FPGA a carry chain costs more than it saves where it is short: it has an entry and an exit,
and the logic in front of it cannot be merged with it.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value

__all__ = ["number_at", "registered_slices", "sliced_signals", "sliced_sum"]


def sliced_signals(count: int, most: int, *, name: str, reset_less: bool = False) -> list[Signal]:
    """Return signals for numbers from 0 to `most`, `count` of them.

    A signal a bit, the lowest first, `name` and the bit's place its name.
    """
    return [
        Signal(count, name=f"{name}_{place}", reset_less=reset_less)
        for place in range(most.bit_length())
    ]


def number_at(slices: Sequence[Value], index: int) -> Value:
    """Return one of the numbers."""
    return Cat(vector[index] for vector in slices)


def registered_slices(m: Module, slices: Sequence[Value], *, name: str) -> list[Signal]:
    """Return the numbers a cycle later."""
    later = sliced_signals(len(slices[0]), (1 << len(slices)) - 1, name=name, reset_less=True)
    m.d.sync += [new.eq(old) for old, new in zip(slices, later, strict=True)]
    return later


def sliced_sum(
    m: Module, terms: Sequence[Sequence[Value]], *, most: int, name: str
) -> Sequence[Value]:
    """Return the sums of numbers: all first ones', all second ones', and so on.

    Parameters
    ----------
    m
        Gets the sums.
    terms
        At least one, each a list of vectors, all equally wide.
    most
        What no sum exceeds.
    name
        Of the signals that are made.
    """
    if len(terms) == 1:
        return terms[0]
    middle = len(terms) // 2
    a = sliced_sum(m, terms[:middle], most=most, name=f"{name}_low")
    b = sliced_sum(m, terms[middle:], most=most, name=f"{name}_high")
    count = len(a[0])
    none = Const(0, count)
    highest = (2 << max(len(a), len(b))) - 1
    total = sliced_signals(count, min(most, highest), name=name)
    carry: Value = none
    for place, vector in enumerate(total):
        x, y = (term[place] if place < len(term) else none for term in (a, b))
        m.d.comb += vector.eq(x ^ y ^ carry)
        if vector is not total[-1]:
            carried = Signal(count, name=f"{name}_carry_{place}")
            m.d.comb += carried.eq((x & y) | (carry & (x | y)))
            carry = carried
    return total
