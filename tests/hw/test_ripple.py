import pytest
from amaranth.hdl import Cat, Module, Signal

from jpnet_hw.ripple import rippled, rippled_sum


@pytest.mark.parametrize("widths", [(1, 1), (4, 4), (5, 2), (2, 5)])
def test_every_pair_is_added(widths, simulate):
    m = Module()
    a, b = (Signal(width, name=f"term_{index}") for index, width in enumerate(widths))
    total = Signal(max(widths) + 1)
    m.d.comb += total.eq(rippled(a, b))
    m.d.sync += Signal().eq(0)

    async def bench(ctx):
        for value in range(2 ** sum(widths)):
            ctx.set(Cat(a, b), value)
            assert ctx.get(total) == ctx.get(a) + ctx.get(b)
            await ctx.tick()

    simulate(m, bench, budget=2 ** sum(widths) + 64)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_terms_is_added(count, rng, simulate):
    m = Module()
    terms = [Signal(3, name=f"term_{index}") for index in range(count)]
    total = Signal(8)
    m.d.comb += total.eq(rippled_sum(m, terms, name="pair"))
    m.d.sync += Signal().eq(0)

    async def bench(ctx):
        for values in ([0] * count, [7] * count, *rng.integers(0, 8, (60, count)).tolist()):
            for term, value in zip(terms, values, strict=True):
                ctx.set(term, value)
            assert ctx.get(total) == sum(values)
            await ctx.tick()

    simulate(m, bench, budget=200)
