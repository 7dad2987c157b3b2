import numpy as np
import pytest
from amaranth.hdl import signed

from jpnet_hw.memory import PairMemory, SyncMemory


@pytest.mark.parametrize("output_register", [False, True])
@pytest.mark.parametrize("depth", [2, 5, 64])
def test_reads_give_what_was_written_after_the_latency(simulate, rng, output_register, depth):
    dut = SyncMemory(shape=signed(9), depth=depth, output_register=output_register)
    model = np.zeros(depth, dtype=int)
    expected = []

    async def bench(ctx):
        for row in range(depth):
            ctx.set(dut.w_en, 1)
            ctx.set(dut.w_addr, row)
            ctx.set(dut.w_data, int(-row))
            model[row] = -row
            await ctx.tick()
        for cycle in range(200):
            write, read = rng.integers(depth, size=2)
            value = int(rng.integers(-256, 256))
            enabled = int(rng.integers(2))
            ctx.set(dut.w_en, enabled)
            ctx.set(dut.w_addr, int(write))
            ctx.set(dut.w_data, value)
            ctx.set(dut.r_addr, int(read))
            collision = enabled and read == write
            expected.append(None if collision else int(model[read]))
            if enabled:
                model[write] = value
            if cycle >= dut.latency and expected[cycle - dut.latency] is not None:
                assert ctx.get(dut.r_data) == expected[cycle - dut.latency]
            await ctx.tick()

    simulate(dut, bench, budget=400)
    assert dut.latency == 1 + output_register


def test_a_pair_of_rows_comes_each_cycle(simulate, rng):
    depth = 16
    dut = PairMemory(shape=signed(9), depth=depth)
    model = rng.integers(-256, 256, depth)
    expected = []

    async def bench(ctx):
        for row in range(depth):
            ctx.set(dut.w_en, 1)
            ctx.set(dut.w_addr, row)
            ctx.set(dut.w_data, int(model[row]))
            await ctx.tick()
        for cycle in range(200):
            reads = rng.integers(depth, size=2)
            writing = int(rng.integers(2))
            ctx.set(dut.w_en, writing)
            row, value = (reads[0] + 1) % depth, int(rng.integers(-256, 256))
            ctx.set(dut.w_addr, int(row))
            ctx.set(dut.w_data, value)
            for number, read in enumerate(reads):
                ctx.set(dut.r_addrs[number], int(read))
            expected.append((int(model[reads[0]]), None if writing else int(model[reads[1]])))
            if writing:
                model[row] = value
            if cycle >= dut.LATENCY:
                first, second = expected[cycle - dut.LATENCY]
                assert ctx.get(dut.r_data[0]) == first
                assert second is None or ctx.get(dut.r_data[1]) == second
            await ctx.tick()

    simulate(dut, bench, budget=400)
