"""The memories that a check for collisions rests on do tell of a row read while it is written."""

import numpy as np
import pytest
from amaranth.hdl import unsigned
from amaranth.sim import Simulator, SimulatorContext

from jpnet_cosim.garbled_memory import elaborate_garbled
from jpnet_hw.memory import SyncMemory

BITS, DEPTH, CYCLES = 9, 5, 200


@pytest.mark.parametrize("output_register", [False, True])
def test_a_row_is_inverted_when_it_is_read_while_it_is_written(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, output_register: bool
) -> None:
    monkeypatch.setattr(SyncMemory, "elaborate", elaborate_garbled)
    dut = SyncMemory(shape=unsigned(BITS), depth=DEPTH, output_register=output_register)
    rows = [0] * DEPTH
    expected: list[int] = []
    collisions = 0

    async def bench(ctx: SimulatorContext) -> None:
        nonlocal collisions
        for cycle in range(CYCLES):
            write, read = (int(row) for row in rng.integers(DEPTH, size=2))
            value, enabled = int(rng.integers(1 << BITS)), int(rng.integers(2))
            ctx.set(dut.w_en, enabled)
            ctx.set(dut.w_addr, write)
            ctx.set(dut.w_data, value)
            ctx.set(dut.r_addr, read)
            collides = enabled and read == write
            collisions += collides
            expected.append(rows[read] ^ ((1 << BITS) - 1) * collides)
            if enabled:
                rows[write] = value
            if cycle >= dut.latency:
                assert ctx.get(dut.r_data) == expected[cycle - dut.latency]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert collisions > CYCLES // 20
