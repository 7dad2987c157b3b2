from collections import deque
from functools import cache

import pytest

from jpnet_hw.axi_reader import AxiReader
from jpnet_hw.burst_cutter import BURST_BEATS
from jpnet_spec.config import AcceleratorConfig

shared_axi_reader = cache(AxiReader)

CONFIG = AcceleratorConfig()


def memory(dut, rng, *, latency=5, stall=0.0, bursts=None, faulty=()):
    """Answer every beat with its address; record the bursts."""

    async def serve(ctx):
        pending, cycle, offered = deque(), 0, None
        size = len(dut.r_data) // 8
        while True:
            ctx.set(dut.ar_ready, int(rng.random() >= stall))
            if offered is None and pending and pending[0][1] <= cycle and rng.random() >= stall:
                offered = pending.popleft()[0]
                ctx.set(dut.r_data, offered)
                ctx.set(dut.r_resp, 2 if offered in faulty else 0)
            ctx.set(dut.r_valid, int(offered is not None))
            request = (ctx.get(dut.ar_address), ctx.get(dut.ar_length) + 1)
            asked = ctx.get(dut.ar_valid) and ctx.get(dut.ar_ready)
            taken = ctx.get(dut.r_valid) and ctx.get(dut.r_ready)
            await ctx.tick()
            cycle += 1
            offered = None if taken else offered
            if asked:
                address, beats = request
                if bursts is not None:
                    bursts.append(request)
                pending += [(address + size * beat, cycle + latency) for beat in range(beats)]

    return serve


async def give(ctx, dut, address, beats):
    ctx.set(dut.transfers.payload.address, address)
    ctx.set(dut.transfers.payload.beats, beats)
    ctx.set(dut.transfers.valid, 1)
    while not ctx.get(dut.transfers.ready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(dut.transfers.valid, 0)


@pytest.mark.parametrize("config", [CONFIG, AcceleratorConfig(act_word=64, axi_data_width=512)])
@pytest.mark.parametrize(("stall", "idle"), [(0, 0), (0.4, 0), (0, 0.6), (0.4, 0.4)])
def test_beats_arrive_in_order(simulate, rng, config, stall, idle):
    dut = shared_axi_reader(config)
    size = config.beat_bytes
    transfers = [(0, 1), (16 * size, 40), (4096 - 3 * size, 7), (5 * size, 16), (2**31, 33)]
    expected = [address + size * beat for address, beats in transfers for beat in range(beats)]
    bursts = []

    async def bench(ctx):
        seen, waiting = [], deque(transfers)
        while len(seen) < len(expected):
            ctx.set(dut.o.ready, int(rng.random() >= idle))
            ctx.set(dut.transfers.valid, int(bool(waiting)))
            if waiting:
                ctx.set(dut.transfers.payload.address, waiting[0][0])
                ctx.set(dut.transfers.payload.beats, waiting[0][1])
                if ctx.get(dut.transfers.ready):
                    waiting.popleft()
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                seen.append(ctx.get(dut.o.payload))
            await ctx.tick()
        assert seen == expected
        await ctx.tick().repeat(4)
        assert ctx.get(dut.idle)

    simulate(dut, bench, memory(dut, rng, stall=stall, bursts=bursts), budget=1500)
    for address, beats in bursts:
        assert beats <= BURST_BEATS
        assert address // 4096 == (address + beats * size - 1) // 4096


def test_a_long_transfer_takes_one_cycle_a_beat(simulate, rng):
    dut = shared_axi_reader(CONFIG)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        await give(ctx, dut, 0, 200)
        cycles = seen = 0
        while seen < 200:
            seen += ctx.get(dut.o.valid)
            cycles += 1
            await ctx.tick()
        assert cycles <= 215

    simulate(dut, bench, memory(dut, rng, latency=8), budget=400)


def test_an_error_is_reported_and_its_beat_dropped(simulate, rng):
    dut = shared_axi_reader(CONFIG)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        await give(ctx, dut, 0, 8)
        errors, seen = 0, []
        for _ in range(60):
            errors += ctx.get(dut.error)
            if ctx.get(dut.o.valid):
                seen.append(ctx.get(dut.o.payload))
            await ctx.tick()
        assert errors == 1
        assert seen == [0, 8, 16, 32, 40, 48, 56]

    simulate(dut, bench, memory(dut, rng, faulty={24}), budget=150)


@pytest.mark.parametrize("cycles", [1, 2, 3, 7, 30])
def test_abort_finishes_bursts_and_the_next_transfer_is_clean(simulate, rng, cycles):
    dut = shared_axi_reader(CONFIG)

    async def bench(ctx):
        await give(ctx, dut, 0, 100)
        await ctx.tick().repeat(cycles)
        ctx.set(dut.abort, 1)
        await ctx.tick().repeat(3)
        while not ctx.get(dut.idle):
            await ctx.tick()
        ctx.set(dut.abort, 0)
        await give(ctx, dut, 4096, 2)
        ctx.set(dut.o.ready, 1)
        seen = []
        while len(seen) < 2:
            if ctx.get(dut.o.valid):
                seen.append(ctx.get(dut.o.payload))
            await ctx.tick()
        assert seen == [4096, 4104]

    simulate(dut, bench, memory(dut, rng, stall=0.3), budget=600)
