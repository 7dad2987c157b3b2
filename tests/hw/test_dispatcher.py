from collections import Counter as Tally
from dataclasses import replace

import pytest

from jpnet_hw.dispatcher import Dispatcher
from jpnet_spec.config import AcceleratorConfig

CONFIG = AcceleratorConfig(groups=4, contexts=2)


async def run(ctx, dut, rng, queues, *, busy):
    """Give each context's tokens; return what every group got, and the cycles it took."""
    config_groups = len(dut.o)
    got = [[] for _ in range(config_groups)]
    cycles = 0
    queues = [list(queue) for queue in queues]
    while any(queues):
        for source, queue in zip(dut.i, queues, strict=True):
            ctx.set(source.valid, int(bool(queue)))
            if queue:
                for name, value in queue[0].items():
                    ctx.set(getattr(source.payload, name), value)
        for group in dut.o:
            ctx.set(group.ready, int(rng.random() >= busy))
        taken = [ctx.get(source.valid) and ctx.get(source.ready) for source in dut.i]
        assert sum(taken) <= 1
        waiting = any(ctx.get(source.valid) for source in dut.i)
        assert ctx.get(dut.blocked) == int(waiting and not any(taken))
        for number, group in enumerate(dut.o):
            if ctx.get(group.valid) and ctx.get(group.ready):
                token = group.payload
                got[number].append(
                    (ctx.get(token.context), ctx.get(token.pointer), ctx.get(token.last))
                )
        for queue, done in zip(queues, taken, strict=True):
            if done:
                queue.pop(0)
        cycles += 1
        await ctx.tick()
    for source in dut.i:
        ctx.set(source.valid, 0)
    return got, cycles


def token(pointer, *, owner=0, divided=0, last=0):
    return {"act": 1, "pointer": pointer, "owner": owner, "divided": divided, "last": last}


@pytest.mark.parametrize("busy", [0, 0.6])
@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_every_token_reaches_one_group_and_every_end_all(simulate, rng, groups, busy):
    dut = Dispatcher(replace(CONFIG, groups=groups))
    queues = [[*(token(p) for p in range(40)), token(99, last=1)] for _ in range(2)]

    async def bench(ctx):
        got, _ = await run(ctx, dut, rng, queues, busy=busy)
        tally = Tally(item for group in got for item in group)
        for context in range(2):
            assert all(tally[context, p, 0] == 1 for p in range(40))
            assert tally[context, 99, 1] == groups
        for group in got:
            for context in range(2):
                mine = [item for item in group if item[0] == context]
                assert mine[-1][2] == 1

    simulate(dut, bench, budget=20000)


def test_one_token_per_cycle_and_all_groups_get_the_same(simulate, rng):
    dut = Dispatcher(CONFIG)
    queues = [[token(p) for p in range(40)], [token(p) for p in range(40)]]

    async def bench(ctx):
        got, cycles = await run(ctx, dut, rng, queues, busy=0)
        assert cycles == 80
        assert [len(group) for group in got] == [20] * 4

    simulate(dut, bench, budget=200)


def test_divided_tokens_go_to_their_owner(simulate, rng):
    dut = Dispatcher(CONFIG)
    queues = [[token(p, owner=p % 4, divided=1) for p in range(40)], []]

    async def bench(ctx):
        got, _ = await run(ctx, dut, rng, queues, busy=0.5)
        for number, group in enumerate(got):
            assert [pointer for _, pointer, _ in group] == list(range(number, 40, 4))

    simulate(dut, bench, budget=2000)


def test_a_waiting_end_holds_the_other_context_back(simulate):
    dut = Dispatcher(CONFIG)

    async def bench(ctx):
        ctx.set(dut.i[0].valid, 1)
        ctx.set(dut.i[0].payload.last, 1)
        ctx.set(dut.i[1].valid, 1)
        for group in dut.o[:3]:
            ctx.set(group.ready, 1)
        for _ in range(5):
            assert ctx.get(dut.blocked)
            assert not ctx.get(dut.i[1].ready)
            await ctx.tick()
        ctx.set(dut.o[3].ready, 1)
        assert ctx.get(dut.i[0].ready)

    simulate(dut, bench, budget=100)
