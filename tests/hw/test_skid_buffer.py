import pytest

from jpnet_hw.skid_buffer import SkidBuffer


@pytest.mark.parametrize("source", [0, 0.5])
@pytest.mark.parametrize("sink", [0, 0.5, 0.9])
def test_everything_passes_in_order(simulate, rng, source, sink):
    dut = SkidBuffer(8)
    sent = [int(value) for value in rng.integers(0, 256, 300)]
    got = []

    async def bench(ctx):
        queue = list(sent)
        offered = False
        cycles = 0
        while len(got) < len(sent):
            offered = bool(queue) and (offered or rng.random() >= source)
            ctx.set(dut.i.valid, int(offered))
            if offered:
                ctx.set(dut.i.payload, queue[0])
            ready = ctx.get(dut.i.ready)
            ctx.set(dut.o.ready, int(rng.random() >= sink))
            assert ctx.get(dut.i.ready) == ready, "ready must not depend on the taker's"
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                got.append(ctx.get(dut.o.payload))
            if offered and ready:
                queue.pop(0)
                offered = False
            await ctx.tick()
            cycles += 1
        assert got == sent
        if not source and not sink:
            assert cycles == len(sent), "neither latency nor gaps"

    simulate(dut, bench, budget=10000)


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
