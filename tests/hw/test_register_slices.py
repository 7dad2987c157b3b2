import pytest
from amaranth.hdl import unsigned
from amaranth.lib import data

from jpnet_hw.pair_queue import PairQueue
from jpnet_hw.register_slice import RegisterSlice

ITEM = data.StructLayout({"number": unsigned(8)})
PARTS = pytest.mark.parametrize("part", [RegisterSlice, PairQueue])


@PARTS
@pytest.mark.parametrize("source", [0, 0.5])
@pytest.mark.parametrize("sink", [0, 0.5, 0.9])
def test_everything_passes_in_order(pass_items, rng, part, source, sink):
    sent = rng.integers(0, 256, 300).tolist()
    got, cycles = pass_items(
        part(ITEM), sent, count=len(sent), source=source, sink=sink, valid_registered=True
    )
    assert got == sent
    if not source and not sink:
        assert cycles == len(sent) + 1, "a cycle of latency and no gaps"


@PARTS
def test_two_items_are_held(simulate, part):
    dut = part(ITEM)

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
