from collections import deque
from functools import cache

import pytest

from jpnet_hw.axi_writer import AxiWriter
from jpnet_hw.burst_cutter import BURST_BEATS
from jpnet_spec.config import AcceleratorConfig

shared_axi_writer = cache(AxiWriter)

CONFIG = AcceleratorConfig()


def memory(dut, rng, stored, *, stall=0.0, faulty=()):
    """Store every beat under its address; answer each burst."""

    async def serve(ctx):
        bursts, beats, answers = deque(), deque(), deque()
        size = len(dut.w_data) // 8
        while True:
            ctx.set(dut.aw_ready, int(rng.random() >= stall))
            ctx.set(dut.w_ready, int(rng.random() >= stall))
            answering = bool(answers) and (ctx.get(dut.b_valid) or rng.random() >= stall)
            ctx.set(dut.b_valid, int(answering))
            if answering:
                ctx.set(dut.b_resp, answers[0])
            if ctx.get(dut.aw_valid) and ctx.get(dut.aw_ready):
                address, count = ctx.get(dut.aw_address), ctx.get(dut.aw_length) + 1
                assert count <= BURST_BEATS
                assert address // 4096 == (address + count * size - 1) // 4096
                bursts.append([address, count, 0])
            if ctx.get(dut.w_valid) and ctx.get(dut.w_ready):
                beats.append((ctx.get(dut.w_data), ctx.get(dut.w_strobe), ctx.get(dut.w_last)))
            taken = answering and ctx.get(dut.b_ready)
            await ctx.tick()
            if taken:
                answers.popleft()
            while beats and bursts:
                word, strobe, last = beats.popleft()
                assert strobe in (0, 2**size - 1)
                if strobe:
                    stored[bursts[0][0]] = word
                bursts[0][2] |= 2 if bursts[0][0] in faulty else 0
                bursts[0][0] += size
                bursts[0][1] -= 1
                assert last == (bursts[0][1] == 0)
                if last:
                    answers.append(bursts.popleft()[2])

    return serve


async def write(ctx, dut, rng, transfers, *, idle=0.0):
    """Write beats that hold their address."""
    waiting = deque(transfers)
    beats = deque(address + 8 * beat for address, count in transfers for beat in range(count))
    offered = False
    while waiting or beats:
        ctx.set(dut.transfers.valid, int(bool(waiting)))
        if waiting:
            ctx.set(dut.transfers.payload.address, waiting[0][0])
            ctx.set(dut.transfers.payload.beats, waiting[0][1])
        offered = bool(beats) and (offered or rng.random() >= idle)
        ctx.set(dut.i.valid, int(offered))
        if offered:
            ctx.set(dut.i.payload, beats[0])
        ready = dut.transfers.ready, dut.i.ready
        _, _, transfer_taken, beat_taken = await ctx.tick().sample(*ready)
        if waiting and transfer_taken:
            waiting.popleft()
        if offered and beat_taken:
            beats.popleft()
            offered = False
    ctx.set(dut.transfers.valid, 0)
    ctx.set(dut.i.valid, 0)


@pytest.mark.parametrize(("stall", "idle"), [(0, 0), (0.5, 0), (0, 0.6), (0.5, 0.4)])
def test_every_beat_is_stored(simulate, rng, stall, idle):
    dut = shared_axi_writer(CONFIG)
    transfers = [(0, 1), (128, 40), (4096 - 24, 7), (2**31 + 40, 16)]
    expected = {address + 8 * beat for address, beats in transfers for beat in range(beats)}
    stored = {}

    async def bench(ctx):
        await write(ctx, dut, rng, transfers, idle=idle)
        while not ctx.get(dut.idle):
            await ctx.tick()
        assert stored == {address: address for address in expected}

    simulate(dut, bench, memory(dut, rng, stored, stall=stall), budget=800)


def test_an_error_is_reported(simulate, rng):
    dut = shared_axi_writer(CONFIG)

    async def bench(ctx):
        await write(ctx, dut, rng, [(0, 4)])
        errors = 0
        for _ in range(30):
            errors += ctx.get(dut.error)
            await ctx.tick()
        assert errors == 1

    simulate(dut, bench, memory(dut, rng, {}, faulty={8}), budget=100)


@pytest.mark.parametrize("beats", [0, 1, 5, 20])
def test_abort_finishes_the_burst_without_writing(simulate, rng, beats):
    dut = shared_axi_writer(CONFIG)
    stored = {}

    async def bench(ctx):
        ctx.set(dut.transfers.payload.address, 0)
        ctx.set(dut.transfers.payload.beats, 64)
        ctx.set(dut.transfers.valid, 1)
        await ctx.tick()
        ctx.set(dut.transfers.valid, 0)
        given = 0
        while given < beats:
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, 8 * given)
            _, _, taken = await ctx.tick().sample(dut.i.ready)
            given += taken
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.abort, 1)
        await ctx.tick().repeat(2)
        while not ctx.get(dut.idle):
            await ctx.tick()
        ctx.set(dut.abort, 0)
        assert stored == {8 * beat: 8 * beat for beat in range(beats)}
        await write(ctx, dut, rng, [(4096, 3)])
        while not ctx.get(dut.idle):
            await ctx.tick()
        assert [stored[4096 + 8 * beat] for beat in range(3)] == [4096, 4104, 4112]

    simulate(dut, bench, memory(dut, rng, stored, stall=0.3), budget=600)
