from collections import Counter as Tally
from dataclasses import replace

import pytest

from jpnet_hw.dispatcher import Dispatcher
from jpnet_spec.config import AcceleratorConfig

CONFIG = AcceleratorConfig(groups=4, contexts=2)


async def run(ctx, dut, rng, queues, *, busy, oldest=1):
    """Give each context's tokens; return what every group got, and the cycles it took."""
    got = [[] for _ in dut.o]
    cycles = 0
    queues = [list(queue) for queue in queues]
    ctx.set(dut.oldest, oldest)
    while any(queues):
        for source, queue in zip(dut.i, queues, strict=True):
            ctx.set(source.valid, int(bool(queue)))
            if queue:
                for name, value in queue[0].items():
                    ctx.set(getattr(source.payload, name), value)
        for group in dut.o:
            ctx.set(group.ready, int(rng.random() >= busy))
        handed = 0
        for number, group in enumerate(dut.o):
            if ctx.get(group.valid) and ctx.get(group.ready):
                token = group.payload
                handed += 1
                got[number].append(
                    (ctx.get(token.context), ctx.get(token.pointer), ctx.get(token.last))
                )
        waiting = any(ctx.get(source.valid) for source in dut.i)
        assert ctx.get(dut.blocked) == int(waiting and not handed)
        for source, queue in zip(dut.i, queues, strict=True):
            if ctx.get(source.valid) and ctx.get(source.ready):
                queue.pop(0)
        cycles += 1
        await ctx.tick()
    for source in dut.i:
        ctx.set(source.valid, 0)
    return got, cycles


def token(pointer, *, owner=0, divided=0, last=0):
    return {"act": 1, "pointer": pointer, "owner": owner, "divided": divided, "last": last}


@pytest.mark.parametrize("busy", [0, 0.6])
@pytest.mark.parametrize("contexts", [1, 2, 4])
@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_every_token_reaches_one_group_and_every_end_all(simulate, rng, groups, contexts, busy):
    dut = Dispatcher(replace(CONFIG, groups=groups, contexts=contexts))
    job = [*(token(p) for p in range(40)), token(99, last=1)]
    queues = [job * 2 for _ in range(contexts)]

    async def bench(ctx):
        got, _ = await run(ctx, dut, rng, queues, busy=busy)
        tally = Tally(item for group in got for item in group)
        for context in range(contexts):
            assert all(tally[context, p, 0] == 2 for p in range(40))
            assert tally[context, 99, 1] == 2 * groups
        for group in got:
            for context in range(contexts):
                mine = [item for item in group if item[0] == context]
                assert mine[-1][2] == 1

    simulate(dut, bench, budget=20000)


@pytest.mark.parametrize(("contexts", "cycles"), [(1, 40), (2, 40), (4, 40)])
def test_each_context_hands_over_one_token_per_cycle(simulate, rng, contexts, cycles):
    dut = Dispatcher(replace(CONFIG, contexts=contexts))
    queues = [[token(p) for p in range(40)] for _ in range(contexts)]

    async def bench(ctx):
        got, took = await run(ctx, dut, rng, queues, busy=0)
        assert took == cycles
        assert [len(group) for group in got] == [10 * contexts] * 4

    simulate(dut, bench, budget=200)


@pytest.mark.parametrize("oldest", range(4))
def test_the_oldest_image_comes_first_and_the_others_follow_by_age(simulate, rng, oldest):
    dut = Dispatcher(replace(CONFIG, groups=1, contexts=4))
    queues = [[token(p) for p in range(10)] for _ in range(4)]

    async def bench(ctx):
        got, cycles = await run(ctx, dut, rng, queues, busy=0, oldest=1 << oldest)
        order = [context for context, _, _ in got[0]]
        assert order == [(oldest + age) % 4 for age in range(4) for _ in range(10)]
        assert cycles == 40

    simulate(dut, bench, budget=200)


@pytest.mark.parametrize("busy", [0, 0.5])
def test_divided_tokens_go_to_their_owner(simulate, rng, busy):
    dut = Dispatcher(CONFIG)
    queues = [[token(p, owner=p % 4, divided=1) for p in range(40)], []]

    async def bench(ctx):
        got, cycles = await run(ctx, dut, rng, queues, busy=busy)
        for number, group in enumerate(got):
            assert [pointer for _, pointer, _ in group] == list(range(number, 40, 4))
        if not busy:
            assert cycles <= 43, "neighbouring inputs meet their owners in turn"

    simulate(dut, bench, budget=2000)


def test_an_end_waits_for_a_full_group_and_holds_no_other_context_back(simulate, rng):
    dut = Dispatcher(CONFIG)

    async def bench(ctx):
        ctx.set(dut.oldest, 1)
        ctx.set(dut.i[0].valid, 1)
        ctx.set(dut.i[0].payload.last, 1)
        ctx.set(dut.i[1].valid, 1)
        for group in dut.o[:3]:
            ctx.set(group.ready, 1)
        passed = 0
        for _ in range(16):
            assert not ctx.get(dut.i[0].ready)
            passed += ctx.get(dut.i[1].ready)
            await ctx.tick()
        assert passed >= 9
        ctx.set(dut.o[3].ready, 1)
        for _ in range(4):
            if ctx.get(dut.i[0].ready):
                return
            await ctx.tick()
        raise AssertionError("the end was never taken")

    simulate(dut, bench, budget=100)
