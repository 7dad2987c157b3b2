from functools import cache

import pytest

from jpnet_hw.registers_block import RegistersBlock
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.registers import REGISTERS, Access, register

shared_registers_block = cache(RegistersBlock)

CONFIG = AcceleratorConfig()


async def write(ctx, dut, offset, value, *, strobe=15, data_first=False, gap=0):
    """Write and return the answer and what the write triggered, as {name: bits}."""
    seen = {}

    async def tick():
        for entry in REGISTERS:
            if entry.access in (Access.COMMAND, Access.CLEAR):
                name = entry.name.lower()
                if ctx.get(getattr(dut.touched, name)):
                    seen[entry.name] = ctx.get(getattr(dut.written, name))
        await ctx.tick()

    ctx.set(dut.aw_address, offset)
    ctx.set(dut.w_data, value)
    ctx.set(dut.w_strobe, strobe)
    order = [(dut.w_valid, dut.w_ready), (dut.aw_valid, dut.aw_ready)]
    for valid, ready in order if data_first else reversed(order):
        ctx.set(valid, 1)
        while not ctx.get(ready):
            await tick()
        await tick()
        ctx.set(valid, 0)
        for _ in range(gap):
            await tick()
    while not ctx.get(dut.b_valid):
        await tick()
    response = ctx.get(dut.b_resp)
    ctx.set(dut.b_ready, 1)
    await tick()
    ctx.set(dut.b_ready, 0)
    await tick()
    return response, seen


async def read(ctx, dut, offset, *, gap=0):
    ctx.set(dut.ar_address, offset)
    ctx.set(dut.ar_valid, 1)
    while not ctx.get(dut.ar_ready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(dut.ar_valid, 0)
    cycles = 1
    while not ctx.get(dut.r_valid):
        await ctx.tick()
        cycles += 1
    assert cycles == 3
    if gap:
        await ctx.tick().repeat(gap)
    word, response = ctx.get(dut.r_data), ctx.get(dut.r_resp)
    ctx.set(dut.r_ready, 1)
    await ctx.tick()
    ctx.set(dut.r_ready, 0)
    return word, response


@pytest.mark.parametrize("addr_width", [32, 40, 64])
def test_every_register_behaves_as_described(simulate, rng, addr_width):
    dut = shared_registers_block(AcceleratorConfig(axi_addr_width=addr_width))

    async def bench(ctx):
        for entry in REGISTERS:
            name = entry.name.lower()
            value = int(rng.integers(1, 2**32))
            gap = int(rng.integers(3))
            if entry.access in (Access.READ, Access.CLEAR):
                ctx.set(getattr(dut.values, name), value)
                assert await read(ctx, dut, entry.offset, gap=gap) == (value, 0)
            response, seen = await write(
                ctx, dut, entry.offset, value, data_first=bool(rng.integers(2)), gap=gap
            )
            assert response == (2 if entry.access is Access.READ else 0)
            if entry.access in (Access.COMMAND, Access.CLEAR):
                assert seen == {entry.name: value}
            else:
                assert not seen
            if entry.access is Access.COMMAND:
                assert await read(ctx, dut, entry.offset) == (0, 0)
            if entry.access is Access.WRITE:
                kept = value & (2 ** dut.held_width(entry) - 1)
                assert await read(ctx, dut, entry.offset, gap=gap) == (kept, 0)

    simulate(dut, bench, budget=2000)


def test_bytes_without_a_strobe_stay(simulate):
    dut = shared_registers_block(CONFIG)
    offset = register("IMAGE_COUNT").offset

    async def bench(ctx):
        await write(ctx, dut, offset, 0x11223344)
        await write(ctx, dut, offset, 0xAABBCCDD, strobe=0b0101)
        assert await read(ctx, dut, offset) == (0x11BB33DD, 0)
        _, seen = await write(ctx, dut, register("CONTROL").offset, 0xFF, strobe=0b1110)
        assert seen == {"CONTROL": 0}

    simulate(dut, bench, budget=100)


def test_accesses_outside_the_map_are_refused_and_reported(simulate):
    dut = shared_registers_block(CONFIG)
    mapped = {entry.offset for entry in REGISTERS}
    holes = [offset for offset in (0x44, 0xFC, 0x158, 0x800, 0xFFC) if offset not in mapped]

    async def bench(ctx):
        for offset in holes:
            reports = 0
            assert (await write(ctx, dut, offset, 1))[0] == 2
            word, response = await read(ctx, dut, offset)
            assert (word, response) == (0, 2)
            ctx.set(dut.ar_valid, 1)
            ctx.set(dut.r_ready, 1)
            for _ in range(12):
                reports += ctx.get(dut.unmapped)
                await ctx.tick()
                ctx.set(dut.ar_valid, 0)
            ctx.set(dut.r_ready, 0)
            assert reports == 1

    simulate(dut, bench, budget=300)
