from collections import deque
from functools import cache

import pytest

from jpnet_hw.read_arbiter import ReadArbiter
from jpnet_spec.config import AcceleratorConfig

shared_read_arbiter = cache(ReadArbiter)

CONFIG = AcceleratorConfig()
USERS = 3


async def play(ctx, dut, rng, wanted, *, idle):
    """Give transfers as (address, beats), one list a user; return order and beats received."""
    waiting = [deque(of_user) for of_user in wanted]
    offered = [False] * USERS
    order, seen, memory = [], [[] for _ in range(USERS)], deque()
    beat_offered = False
    stable = None
    for _ in range(20_000):
        for user in range(USERS):
            offered[user] = bool(waiting[user]) and (offered[user] or rng.random() >= idle)
            ctx.set(dut.asks[user].valid, int(offered[user]))
            if offered[user]:
                address, beats = waiting[user][0]
                ctx.set(dut.asks[user].payload.address, address)
                ctx.set(dut.asks[user].payload.beats, beats)
            ctx.set(dut.gives[user].ready, int(rng.random() >= idle))
        ctx.set(dut.transfers.ready, int(rng.random() >= idle))
        beat_offered = bool(memory) and (beat_offered or rng.random() >= idle)
        ctx.set(dut.i.valid, int(beat_offered))
        if beat_offered:
            ctx.set(dut.i.payload, memory[0])
        taken_beat = ctx.get(dut.i.valid) and ctx.get(dut.i.ready)
        for user in range(USERS):
            if ctx.get(dut.gives[user].valid) and ctx.get(dut.gives[user].ready):
                assert taken_beat
                seen[user].append(ctx.get(dut.gives[user].payload))
        transfer = None
        if ctx.get(dut.transfers.valid):
            payload = dut.transfers.payload
            transfer = (ctx.get(payload.address), ctx.get(payload.beats))
            assert stable in (None, transfer), "what is offered stays"
            stable = transfer
        else:
            assert stable is None
        taken = [user for user in range(USERS) if offered[user] and ctx.get(dut.asks[user].ready)]
        assert len(taken) <= 1
        await ctx.tick()
        if taken:
            stable = None
            (user,) = taken
            assert waiting[user].popleft() == transfer
            offered[user] = False
            order.append(user)
            memory += [transfer[0] + beat for beat in range(transfer[1])]
        if taken_beat:
            memory.popleft()
            beat_offered = False
        if not memory and not any(waiting):
            return order, seen
    raise AssertionError("a transfer is lost")


@pytest.mark.parametrize("idle", [0, 0.3, 0.7])
def test_every_user_gets_its_own_beats_in_order(simulate, rng, idle):
    dut = shared_read_arbiter(CONFIG, users=USERS)
    wanted = [
        [(10_000 * user + 100 * index, int(rng.integers(1, 20))) for index in range(25)]
        for user in range(USERS)
    ]
    expected = [[a + beat for a, beats in user for beat in range(beats)] for user in wanted]

    async def bench(ctx):
        _, seen = await play(ctx, dut, rng, wanted, idle=idle)
        assert seen == expected

    simulate(dut, bench, budget=20_000)


def test_the_first_user_goes_first(simulate, rng):
    dut = shared_read_arbiter(CONFIG, users=USERS)
    wanted = [[(16 * user, 4)] * 3 for user in range(USERS)]

    async def bench(ctx):
        order, _ = await play(ctx, dut, rng, wanted, idle=0)
        assert order == [0] * 3 + [1] * 3 + [2] * 3

    simulate(dut, bench, budget=500)


def test_beats_follow_each_other_without_gaps(simulate, rng):
    dut = shared_read_arbiter(CONFIG, users=USERS)

    async def bench(ctx):
        ctx.set(dut.transfers.ready, 1)
        for user in (2, 0, 1):
            ctx.set(dut.asks[user].payload.beats, 2)
            ctx.set(dut.asks[user].valid, 1)
            assert ctx.get(dut.asks[user].ready), "no cycle of latency"
            await ctx.tick()
            ctx.set(dut.asks[user].valid, 0)
            ctx.set(dut.gives[user].ready, 1)
        ctx.set(dut.i.valid, 1)
        for user in (2, 2, 0, 0, 1, 1):
            assert ctx.get(dut.gives[user].valid)
            await ctx.tick()
        assert not any(ctx.get(give.valid) for give in dut.gives)

    simulate(dut, bench, budget=64)
