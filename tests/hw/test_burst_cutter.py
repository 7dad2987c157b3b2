import pytest

from jpnet_hw.burst_cutter import BURST_BEATS, BurstCutter
from jpnet_spec.config import AcceleratorConfig


def model(address, beats, beat_bytes):
    bursts = []
    while beats:
        room = BURST_BEATS - address // beat_bytes % BURST_BEATS
        count = min(beats, room)
        bursts.append((address, count))
        address += count * beat_bytes
        beats -= count
    return bursts


@pytest.mark.parametrize("config", [AcceleratorConfig(), AcceleratorConfig(axi_data_width=32)])
@pytest.mark.parametrize("stall", [0, 0.5])
def test_bursts_cover_the_transfer(simulate, rng, config, stall):
    dut = BurstCutter(config)
    size = config.beat_bytes
    transfers = [(0, 1), (15 * size, 1), (15 * size, 2), (0, 16), (size, 16), (2**32 - 64, 8)]
    transfers += [(int(rng.integers(2**20)) * size, int(rng.integers(1, 100))) for _ in range(8)]

    async def bench(ctx):
        for address, beats in transfers:
            ctx.set(dut.i.payload.address, address)
            ctx.set(dut.i.payload.beats, beats)
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            seen = []
            while ctx.get(dut.busy):
                ctx.set(dut.o.ready, int(rng.random() >= stall))
                if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                    burst = dut.o.payload
                    seen.append((ctx.get(burst.address), ctx.get(burst.beats)))
                await ctx.tick()
            assert seen == model(address, beats, size)

    simulate(dut, bench, budget=600)


@pytest.mark.parametrize("cycles", [1, 2, 3, 4])
def test_abort_forgets_the_transfer(simulate, cycles):
    dut = BurstCutter(AcceleratorConfig())

    async def bench(ctx):
        ctx.set(dut.i.payload.beats, 100)
        ctx.set(dut.i.valid, 1)
        await ctx.tick().repeat(cycles)
        ctx.set(dut.abort, 1)
        assert not ctx.get(dut.o.valid)
        await ctx.tick()
        assert not ctx.get(dut.busy)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.abort, 0)
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.o.valid)

    simulate(dut, bench, budget=64)
