import pytest

from jpnet_hw.skid_buffer import SkidBuffer


@pytest.mark.parametrize("source", [0, 0.5])
@pytest.mark.parametrize("sink", [0, 0.5, 0.9])
def test_everything_passes_in_order(pass_items, rng, source, sink):
    sent = rng.integers(0, 256, 300).tolist()
    got, cycles = pass_items(SkidBuffer(8), sent, count=len(sent), source=source, sink=sink)
    assert got == sent
    if not source and not sink:
        assert cycles == len(sent), "neither latency nor gaps"


def test_an_offer_stands_until_it_is_taken(simulate):
    dut = SkidBuffer(8)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, 7)
        await ctx.tick()
        ctx.set(dut.i.payload, 8)
        for _ in range(3):
            assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload)) == (1, 7)
            assert not ctx.get(dut.i.ready)
            await ctx.tick()
        ctx.set(dut.o.ready, 1)
        assert ctx.get(dut.o.payload) == 7
        await ctx.tick()
        assert ctx.get(dut.o.payload) == 8

    simulate(dut, bench, budget=100)
