from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from jpnet_hw.lane import Lane
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory

shared_lane = cache(Lane)

CONFIG = AcceleratorConfig(weight_depth=256, pointer_depth=32, acc_depth=8, fifo_depth=8)


async def load(ctx, dut, config, lists):
    """Write lists of (row, weight), one per table entry, and where the last one ends."""
    entries, start = [], 0
    for pointer, pairs in enumerate([*lists, []]):
        entries.append((Memory.POINTER, pointer, start))
        for offset, (row, weight) in enumerate(pairs):
            entries.append((Memory.WEIGHT, start + offset, (row & 0xFFFF) << 8 | weight & 0xFF))
        start += len(pairs)
    ctx.set(dut.load_valid, 1)
    for memory, address, value in entries:
        ctx.set(dut.load.memory, int(memory))
        ctx.set(dut.load.address, address)
        ctx.set(dut.load.data, int(value))
        await ctx.tick()
    ctx.set(dut.load_valid, 0)


async def drain(ctx, dut, config, context, keep=lambda row: False):
    seen = []
    for cycle in range(config.acc_depth + dut.DRAIN_LATENCY):
        ctx.set(dut.drain_valid, int(cycle < config.acc_depth))
        ctx.set(dut.drain.context, context)
        ctx.set(dut.drain.row, cycle % config.acc_depth)
        ctx.set(dut.drain.keep, int(keep(cycle % config.acc_depth)))
        if cycle >= dut.DRAIN_LATENCY:
            seen.append(ctx.get(dut.sum))
        await ctx.tick()
    return seen


async def feed(ctx, dut, rng, tokens, idle):
    """Give tokens as room permits, then ends; return cycles and products issued.

    A token is (activation, first list, context) or has number of lists and base as well.
    """
    cycles = issued = 0
    pending = [(*full_token(token), 0) for token in tokens]
    pending += [(0, 0, context, 0, 0, 1) for context in range(2)]
    ended = 0
    promise = [0, 0]
    while ended != 3:
        promise.append(ctx.get(dut.room))
        give = promise.pop(0) and pending and rng.random() >= idle
        ctx.set(dut.i_valid, int(bool(give)))
        if give:
            act, pointer, context, count, base, last = pending.pop(0)
            ctx.set(dut.i.act, act)
            ctx.set(dut.i.pointer, pointer)
            ctx.set(dut.i.stop, pointer + count)
            ctx.set(dut.i.base, base)
            ctx.set(dut.i.context, context)
            ctx.set(dut.i.last, last)
        issued += ctx.get(dut.issue)
        ended |= ctx.get(dut.done)
        cycles += 1
        await ctx.tick()
    ctx.set(dut.i_valid, 0)
    return cycles, issued


def full_token(token):
    return token if len(token) == 5 else (*token, 1, 0)


def products(lists, token):
    """Return (accumulator row, context, product) of everything a token meets."""
    act, pointer, context, count, base = full_token(token)
    run = [pair for pairs in lists[pointer : pointer + count] for pair in pairs]
    found = []
    for offset, weight in run:
        upper, row = divmod(base + offset, CONFIG.acc_depth)
        found.append((row, context | (upper & 1) << 1 | upper >> 1, act * weight))
    return found


def expected_sums(lists, tokens, config, context):
    sums = np.zeros(config.acc_depth, dtype=np.int64)
    for token in tokens:
        for row, owner, product in products(lists, token):
            if owner == context:
                sums[row] += product
    return sums.tolist()


def random_lists(rng, config, lengths):
    return [
        [
            (int(row), int(rng.integers(-127, 128)))
            for row in rng.permutation(config.acc_depth)[:length]
        ]
        for length in lengths
    ]


@pytest.mark.parametrize("idle", [0, 0.7])
@pytest.mark.parametrize("lengths", [[0] * 8, [1] * 8, [8] * 8, [0, 1, 2, 3, 0, 0, 8, 5]], ids=str)
def test_sums_of_both_contexts_are_exact(simulate, rng, idle, lengths):
    lists = random_lists(rng, CONFIG, lengths)
    tokens = [
        (int(rng.integers(-127, 128)), int(rng.integers(8)), int(rng.integers(2)))
        for _ in range(60)
    ]
    dut = shared_lane(CONFIG)

    async def bench(ctx):
        await load(ctx, dut, CONFIG, lists)
        for context in range(2):
            await drain(ctx, dut, CONFIG, context)
        for _ in range(2):
            _, issued = await feed(ctx, dut, rng, tokens, idle)
            assert issued == sum(len(products(lists, token)) for token in tokens)
            for context in range(2):
                sums = await drain(ctx, dut, CONFIG, context)
                assert sums == expected_sums(lists, tokens, CONFIG, context)

    simulate(dut, bench, budget=6000)


def test_runs_of_lists_lie_from_their_base(simulate, rng):
    """Runs of any number of lists, also none, of a lone image that has all contexts' rows."""
    depth = CONFIG.acc_depth
    lists = [
        [(row - depth * int(rng.integers(2)), weight) for row, weight in pairs]
        for pairs in random_lists(rng, CONFIG, rng.integers(0, 5, 12))
    ]
    tokens = []
    for _ in range(120):
        pointer = int(rng.integers(13))
        count = int(rng.integers(13 - pointer))
        act, base = int(rng.integers(-127, 128)), int(rng.integers(depth, 3 * depth + 1))
        tokens.append((act, pointer, 0, count, base))
    dut = shared_lane(CONFIG)

    async def bench(ctx):
        await load(ctx, dut, CONFIG, lists)
        for context in range(4):
            await drain(ctx, dut, CONFIG, context)
        _, issued = await feed(ctx, dut, rng, tokens, 0.2)
        assert issued == sum(len(products(lists, token)) for token in tokens)
        for context in range(4):
            sums = await drain(ctx, dut, CONFIG, context)
            assert sums == expected_sums(lists, tokens, CONFIG, context)

    simulate(dut, bench, budget=8000)


def test_a_run_may_pass_the_end_of_the_memory(simulate, rng):
    """Starts count modulo the depth of the weight memory."""
    dut = shared_lane(CONFIG)
    lists = [[(row, row + 1) for row in range(8)]]

    async def bench(ctx):
        ctx.set(dut.load_valid, 1)
        first = CONFIG.weight_depth - 3
        entries = [(Memory.POINTER, 0, first), (Memory.POINTER, 1, 5)]
        for offset, (row, weight) in enumerate(lists[0]):
            address = (first + offset) % CONFIG.weight_depth
            entries.append((Memory.WEIGHT, address, row << 8 | weight))
        for memory, address, value in entries:
            ctx.set(dut.load.memory, int(memory))
            ctx.set(dut.load.address, address)
            ctx.set(dut.load.data, value)
            await ctx.tick()
        ctx.set(dut.load_valid, 0)
        await drain(ctx, dut, CONFIG, 0)
        await feed(ctx, dut, rng, [(3, 0, 0)], 0)
        assert await drain(ctx, dut, CONFIG, 0) == expected_sums(lists, [(3, 0, 0)], CONFIG, 0)

    simulate(dut, bench, budget=1000)


def test_one_row_in_every_cycle_is_forwarded(simulate, rng):
    """Each product adds to the row of the one before it, at every distance up to seven."""
    dut = shared_lane(CONFIG)
    lists = [[(row, 127 - 30 * row)] for row in range(7)]

    async def bench(ctx):
        await load(ctx, dut, CONFIG, lists)
        for context in range(2):
            await drain(ctx, dut, CONFIG, context)
        for distance in range(1, 8):
            tokens = [(127, index % distance, 0) for index in range(40)]
            await feed(ctx, dut, rng, tokens, 0)
            assert await drain(ctx, dut, CONFIG, 0) == expected_sums(lists, tokens, CONFIG, 0)

    simulate(dut, bench, budget=4000)


def test_lists_follow_each_other_without_a_gap(simulate, rng):
    lists = random_lists(rng, CONFIG, [4] * 8)
    tokens = [(1, index % 8, 0) for index in range(50)]
    dut = shared_lane(CONFIG)

    async def bench(ctx):
        await load(ctx, dut, CONFIG, lists)
        cycles, issued = await feed(ctx, dut, rng, tokens, 0)
        assert issued == 200
        assert cycles <= 200 + dut.LATENCY + 4

    simulate(dut, bench, budget=2000)


def test_empty_lists_cost_no_cycle_while_others_wait(simulate, rng):
    lists = random_lists(rng, CONFIG, [8, 0])
    tokens = [(1, index % 2, 0) for index in range(60)]
    dut = shared_lane(CONFIG)

    async def bench(ctx):
        await load(ctx, dut, CONFIG, lists)
        cycles, issued = await feed(ctx, dut, rng, tokens, 0)
        assert issued == 240
        assert cycles <= 240 + dut.LATENCY + 4

    simulate(dut, bench, budget=2000)


def test_first_product_is_in_memory_after_the_latency(simulate, rng):
    dut = shared_lane(replace(CONFIG, contexts=1))

    async def bench(ctx):
        await load(ctx, dut, CONFIG, [[(0, 1)]])
        while not ctx.get(dut.room):
            await ctx.tick()
        ctx.set(dut.i_valid, 1)
        ctx.set(dut.i.act, 1)
        ctx.set(dut.i.stop, 1)
        await ctx.tick()
        ctx.set(dut.i.last, 1)
        cycles = 1
        while not ctx.get(dut.done):
            await ctx.tick()
            ctx.set(dut.i_valid, 0)
            cycles += 1
        assert cycles == dut.LATENCY + 1

    simulate(dut, bench, budget=200)


def test_kept_rows_are_read_again_and_the_others_are_0(simulate, rng):
    dut = shared_lane(CONFIG)
    lists = [[(row, row + 1) for row in range(8)]]

    async def bench(ctx):
        await load(ctx, dut, CONFIG, lists)
        for context in range(2):
            await drain(ctx, dut, CONFIG, context)
        await feed(ctx, dut, rng, [(3, 0, 0)], 0)
        sums = expected_sums(lists, [(3, 0, 0)], CONFIG, 0)
        assert await drain(ctx, dut, CONFIG, 0, keep=lambda row: True) == sums
        assert await drain(ctx, dut, CONFIG, 0, keep=lambda row: row % 3 == 0) == sums
        kept = [total if row % 3 == 0 else 0 for row, total in enumerate(sums)]
        assert await drain(ctx, dut, CONFIG, 0) == kept
        assert await drain(ctx, dut, CONFIG, 0) == [0] * CONFIG.acc_depth

    simulate(dut, bench, budget=1000)
