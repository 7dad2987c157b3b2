import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal

from jpnet_hw.bit_slices import number_at, sliced_signals, sliced_sum

COUNT = 3


def slices_of(numbers, width):
    return [
        sum((int(n) >> place & 1) << i for i, n in enumerate(numbers)) for place in range(width)
    ]


@pytest.mark.parametrize(
    "mosts", [(1,), (7,), (1, 1), (15, 3), (3, 15), (1, 1, 1, 1), (7, 1, 15, 2, 7)]
)
def test_numbers_are_added_each_with_its_own(mosts, rng, simulate):
    m = Module()
    terms = [sliced_signals(COUNT, most, name=f"term_{index}") for index, most in enumerate(mosts)]
    total = sliced_sum(m, terms, most=sum(mosts), name="sum")
    assert len(total) == sum(mosts).bit_length()
    sums = [Signal(len(total), name=f"sum_of_{index}") for index in range(COUNT)]
    m.d.comb += [value.eq(number_at(total, index)) for index, value in enumerate(sums)]
    m.d.sync += Signal().eq(0)

    async def bench(ctx):
        draws = rng.integers(0, np.array(mosts)[:, None] + 1, (60, len(mosts), COUNT))
        draws[0], draws[1] = 0, np.array(mosts)[:, None]
        for values in draws:
            for term, numbers in zip(terms, values, strict=True):
                for vector, bits in zip(term, slices_of(numbers, len(term)), strict=True):
                    ctx.set(vector, bits)
            assert [ctx.get(value) for value in sums] == values.sum(axis=0).tolist()
            await ctx.tick()

    simulate(m, bench, budget=200)


def test_signals_are_as_many_as_the_largest_number_has_bits():
    assert [len(sliced_signals(5, most, name="n")) for most in (1, 4, 7, 8)] == [1, 3, 3, 4]
    assert len(Cat(sliced_signals(5, 7, name="n"))) == 15
