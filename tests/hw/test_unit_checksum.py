import numpy as np
import pytest

from jpnet_hw.unit_checksum import UnitChecksum


@pytest.fixture(scope="module")
def dut():
    return UnitChecksum()


EXTREMES = {"zeros": 0x00, "ones": 0xFF, "alternating": 0x55}


async def feed(ctx, dut, data, rng, *, idle):
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)
    for place in range(0, len(data), 8):
        while rng.random() < idle:
            ctx.set(dut.data, int(rng.integers(2**63)))
            await ctx.tick()
        ctx.set(dut.valid, 1)
        ctx.set(dut.data, int.from_bytes(data[place : place + 8], "little"))
        await ctx.tick()
        ctx.set(dut.valid, 0)
    await ctx.tick().repeat(dut.LATENCY - 1)
    return ctx.get(dut.crc)


@pytest.mark.parametrize("idle", [0, 0.6])
def test_checksums_are_those_of_zlib(simulate, rng, dut, idle):
    async def bench(ctx):
        for units in (1, 2, 3, 40, 1, 100):
            data = rng.integers(0, 256, 8 * units, dtype=np.uint8).tobytes()
            assert await feed(ctx, dut, data, rng, idle=idle) == dut.model(data)

    simulate(dut, bench, budget=2000)


@pytest.mark.parametrize("byte", list(EXTREMES.values()), ids=list(EXTREMES))
def test_extremes_are_those_of_zlib(simulate, rng, dut, byte):
    async def bench(ctx):
        for units in (1, 2, 17):
            data = bytes([byte] * 8 * units)
            assert await feed(ctx, dut, data, rng, idle=0) == dut.model(data)

    simulate(dut, bench, budget=200)


def test_every_bit_of_a_unit_counts(simulate, rng, dut):
    async def bench(ctx):
        seen = set()
        for bit in range(64):
            data = (1 << bit).to_bytes(8, "little")
            seen.add(await feed(ctx, dut, data, rng, idle=0))
            assert dut.model(data) in seen
        assert len(seen) == 64

    simulate(dut, bench, budget=400)
