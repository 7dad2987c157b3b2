import pytest
from amaranth.hdl import unsigned
from amaranth.lib import data

from jpnet_hw.register_slice import RegisterSlice

ITEM = data.StructLayout({"number": unsigned(8)})


@pytest.mark.parametrize("source", [0, 0.5])
@pytest.mark.parametrize("sink", [0, 0.5, 0.9])
def test_everything_passes_in_order(simulate, rng, source, sink):
    dut = RegisterSlice(ITEM)
    sent = [int(value) for value in rng.integers(0, 256, 300)]
    got = []

    async def bench(ctx):
        queue = list(sent)
        offered = False
        cycles = 0
        while len(got) < len(sent):
            before = ctx.get(dut.i.ready), ctx.get(dut.o.valid)
            offered = bool(queue) and (offered or rng.random() >= source)
            ctx.set(dut.i.valid, int(offered))
            if offered:
                ctx.set(dut.i.payload.number, queue[0])
            ctx.set(dut.o.ready, int(rng.random() >= sink))
            assert (ctx.get(dut.i.ready), ctx.get(dut.o.valid)) == before, "not from registers"
            if before[1] and ctx.get(dut.o.ready):
                got.append(ctx.get(dut.o.payload.number))
            if offered and before[0]:
                queue.pop(0)
                offered = False
            await ctx.tick()
            cycles += 1
        assert got == sent
        if not source and not sink:
            assert cycles == len(sent) + 1, "a cycle of latency and no gaps"

    simulate(dut, bench, budget=10000)


def test_two_items_are_held(simulate):
    dut = RegisterSlice(ITEM)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        for number in range(4):
            ctx.set(dut.i.payload.number, number)
            assert ctx.get(dut.i.ready) == (number < 2)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.o.ready, 1)
        for number in range(2):
            assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload.number)) == (1, number)
            await ctx.tick()
        assert not ctx.get(dut.o.valid)

    simulate(dut, bench, budget=100)
