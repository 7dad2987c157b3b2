from collections import Counter as Tally
from dataclasses import replace
from functools import cache

import pytest

from jpnet_hw.dispatcher import Dispatcher
from jpnet_spec.config import AcceleratorConfig

shared_dispatcher = cache(Dispatcher)

CONFIG = AcceleratorConfig(groups=4, contexts=2)


async def run(ctx, dut, rng, queue, *, busy):
    """Give tokens; return what every group got, and the cycles it took."""
    got = [[] for _ in dut.o]
    cycles = 0
    queue = list(queue)
    while queue:
        ctx.set(dut.i.valid, 1)
        for name, value in queue[0].items():
            ctx.set(getattr(dut.i.payload, name), value)
        for group in dut.o:
            ctx.set(group.ready, int(rng.random() >= busy))
        taken = bool(ctx.get(dut.i.ready))
        assert ctx.get(dut.blocked) == int(not taken)
        handed = 0
        for number, group in enumerate(dut.o):
            if ctx.get(group.valid) and ctx.get(group.ready):
                token = group.payload
                handed += 1
                got[number].append(
                    (ctx.get(token.context), ctx.get(token.pointer), ctx.get(token.last))
                )
        assert handed == (0 if not taken else len(dut.o) if queue[0]["last"] else 1)
        if taken:
            queue.pop(0)
        cycles += 1
        await ctx.tick()
    ctx.set(dut.i.valid, 0)
    assert not ctx.get(dut.blocked)
    return got, cycles


def token(pointer, *, context=0, owner=0, divided=0, last=0):
    return {
        "act": 1,
        "pointer": pointer,
        "context": context,
        "owner": owner,
        "divided": divided,
        "last": last,
    }


@pytest.mark.parametrize("busy", [0, 0.6])
@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_every_token_reaches_one_group_and_every_end_all(simulate, rng, groups, busy):
    dut = shared_dispatcher(replace(CONFIG, groups=groups))
    queue = [
        token(p, context=context, last=int(p == 40)) for p in range(41) for context in range(2)
    ]

    async def bench(ctx):
        got, _ = await run(ctx, dut, rng, queue * 2, busy=busy)
        tally = Tally(item for group in got for item in group)
        for context in range(2):
            assert all(tally[context, p, 0] == 2 for p in range(40))
            assert tally[context, 40, 1] == 2 * groups
        for group in got:
            assert group[-1][2] == 1

    simulate(dut, bench, budget=20000)


def test_one_token_per_cycle_and_all_groups_get_the_same(simulate, rng):
    dut = shared_dispatcher(CONFIG)

    async def bench(ctx):
        got, cycles = await run(ctx, dut, rng, [token(p) for p in range(80)], busy=0)
        assert cycles == 80
        assert [len(group) for group in got] == [20] * 4

    simulate(dut, bench, budget=200)


def test_divided_tokens_go_to_their_owner(simulate, rng):
    dut = shared_dispatcher(CONFIG)
    queue = [token(p, owner=p % 4, divided=1) for p in range(40)]

    async def bench(ctx):
        got, _ = await run(ctx, dut, rng, queue, busy=0.5)
        for number, group in enumerate(got):
            assert [pointer for _, pointer, _ in group] == list(range(number, 40, 4))

    simulate(dut, bench, budget=2000)


def test_an_end_waits_until_all_groups_have_room(simulate):
    dut = shared_dispatcher(CONFIG)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload.last, 1)
        for group in dut.o[:3]:
            ctx.set(group.ready, 1)
        for _ in range(5):
            assert ctx.get(dut.blocked)
            assert not ctx.get(dut.i.ready)
            assert not any(ctx.get(group.valid) for group in dut.o)
            await ctx.tick()
        ctx.set(dut.o[3].ready, 1)
        assert ctx.get(dut.i.ready)
        assert all(ctx.get(group.valid) for group in dut.o)

    simulate(dut, bench, budget=100)


def test_a_restart_begins_with_the_first_group(simulate):
    dut = shared_dispatcher(CONFIG)

    async def bench(ctx):
        for group in dut.o:
            ctx.set(group.ready, 1)
        ctx.set(dut.i.valid, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.o[2].valid)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 1)
        assert ctx.get(dut.o[0].valid)

    simulate(dut, bench, budget=100)
