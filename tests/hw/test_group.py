from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from jpnet_hw.group import Group
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory

shared_group = cache(Group)

CONFIG = AcceleratorConfig(
    lanes=4, contexts=2, weight_depth=256, pointer_depth=32, acc_depth=8, fifo_depth=8
)


def random_lists(rng, config, lengths):
    """Return one list of (row, weight) per lane and table entry; `lengths` per lane and entry."""
    return [
        [
            [
                (int(row), int(rng.integers(-127, 128)))
                for row in rng.permutation(config.acc_depth)[:length]
            ]
            for length in lane
        ]
        for lane in lengths
    ]


def lane_entries(tables):
    """Return a lane's entries of the list table and of the weight memory."""
    starts, entries = [0], []
    for pairs in tables:
        entries += [row << 8 | weight & 0xFF for row, weight in pairs]
        starts.append(len(entries))
    return {Memory.POINTER: starts, Memory.WEIGHT: entries}


async def load(ctx, dut, config, lists, *, wide=False):
    """Load all lanes' lists side by side; shorter ones are padded with what no list has."""
    ctx.set(dut.load_valid, 1)
    ctx.set(dut.load.wide, int(wide))
    together = 2 if wide else 4
    for first in range(0, config.lanes, together):
        ctx.set(dut.load.lane, first)
        lanes = [lane_entries(tables) for tables in lists[first : first + together]]
        for memory in (Memory.POINTER, Memory.WEIGHT):
            ctx.set(dut.load.memory, int(memory))
            for address in range(max(len(lane[memory]) for lane in lanes)):
                ctx.set(dut.load.address, address)
                for place in range(4):
                    column = lanes[place % together % len(lanes)][memory]
                    value = column[address] if address < len(column) else 0x1FF
                    ctx.set(dut.load.lists[place], value)
                await ctx.tick()
    ctx.set(dut.load_valid, 0)


async def drain(ctx, dut, config, context):
    """Return the sums, one list per lane."""
    seen = []
    for cycle in range(config.acc_depth + dut.DRAIN_LATENCY):
        ctx.set(dut.drain_valid, int(cycle < config.acc_depth))
        ctx.set(dut.drain.context, context)
        ctx.set(dut.drain.row, cycle % config.acc_depth)
        if cycle >= dut.DRAIN_LATENCY:
            seen.append([ctx.get(dut.sums[lane]) for lane in range(config.lanes)])
        await ctx.tick()
    ctx.set(dut.drain_valid, 0)
    return np.array(seen).T.tolist()


async def feed(ctx, dut, rng, tokens, idle):
    """Give tokens (act, pointer, context) and all ends; return cycles and products issued."""
    everyone = 2 ** len(dut.done) - 1
    pending = [*((*token, 0) for token in tokens), *((0, 0, k, 1) for k in range(len(dut.done)))]
    cycles = issued = taken = 0
    offered = False
    while ctx.get(dut.done) != everyone:
        offered = bool(pending) and (offered or rng.random() >= idle)
        ctx.set(dut.i.valid, int(offered))
        if offered:
            for name, value in zip(("act", "pointer", "context", "last"), pending[0], strict=True):
                ctx.set(getattr(dut.i.payload, name), value)
            ctx.set(dut.i.payload.stop, pending[0][1] + 1)
            if ctx.get(dut.i.ready):
                pending.pop(0)
                offered = False
                taken = cycles
        issued += ctx.get(dut.issue).bit_count()
        cycles += 1
        await ctx.tick()
    ctx.set(dut.i.valid, 0)
    return cycles, issued, taken


async def forget(ctx, dut):
    ctx.set(dut.arm, 2 ** len(dut.done) - 1)
    await ctx.tick()
    ctx.set(dut.arm, 0)


async def prepare(ctx, dut, config, lists):
    await load(ctx, dut, config, lists)
    for context in range(config.contexts):
        await drain(ctx, dut, config, context)


def expected_sums(lists, tokens, config, context):
    sums = np.zeros((config.lanes, config.acc_depth), dtype=np.int64)
    for act, pointer, owner in tokens:
        for lane, tables in enumerate(lists):
            for row, weight in tables[pointer]:
                if owner == context:
                    sums[lane, row] += act * weight
    return sums.tolist()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_lists_reach_the_lanes_of_their_set(simulate, rng, lanes, wide):
    config = replace(CONFIG, lanes=lanes, act_word=8)
    dut = shared_group(config)
    lists = random_lists(rng, config, rng.integers(0, 4, (lanes, 8)))
    tokens = [(1, pointer, 1) for pointer in range(8)]

    async def bench(ctx):
        await load(ctx, dut, config, lists, wide=wide)
        await drain(ctx, dut, config, 1)
        await feed(ctx, dut, rng, tokens, 0)
        assert await drain(ctx, dut, config, 1) == expected_sums(lists, tokens, config, 1)

    simulate(dut, bench, budget=500)


@pytest.mark.parametrize("idle", [0, 0.8])
@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("longest", [0, 2, 8])
def test_every_lane_meets_every_token_once(simulate, rng, lanes, longest, idle):
    config = replace(CONFIG, lanes=lanes)
    dut = shared_group(config)
    lists = random_lists(rng, config, rng.integers(0, longest + 1, (lanes, 8)))
    tokens = [tuple(int(x) for x in rng.integers((-127, 0, 0), (128, 8, 2))) for _ in range(80)]

    async def bench(ctx):
        await prepare(ctx, dut, config, lists)
        for _ in range(2):
            _, issued, _ = await feed(ctx, dut, rng, tokens, idle)
            assert issued == sum(len(lane[pointer]) for _, pointer, _ in tokens for lane in lists)
            await forget(ctx, dut)
            for context in range(2):
                sums = await drain(ctx, dut, config, context)
                assert sums == expected_sums(lists, tokens, config, context)

    simulate(dut, bench, budget=6000)


@pytest.mark.parametrize("idle", [0, 0.5])
def test_lists_of_the_other_slot_may_be_written_while_tokens_come(simulate, rng, idle):
    dut = shared_group(CONFIG)
    lists = random_lists(rng, CONFIG, rng.integers(0, 5, (4, 8)))
    tokens = [tuple(int(x) for x in rng.integers((-127, 0, 0), (128, 8, 2))) for _ in range(300)]
    depths = {Memory.POINTER: CONFIG.pointer_depth, Memory.WEIGHT: CONFIG.weight_depth}
    prepared = []

    async def write(ctx):
        while True:
            await ctx.tick()
            memory = (Memory.POINTER, Memory.WEIGHT)[int(rng.integers(2))]
            depth = depths[memory]
            if prepared:
                ctx.set(dut.load_valid, int(rng.random() < 0.7))
                ctx.set(dut.load.memory, int(memory))
                ctx.set(dut.load.wide, int(rng.integers(2)))
                ctx.set(dut.load.lane, int(rng.choice([0, 2])))
                ctx.set(dut.load.address, int(rng.integers(depth // 2, depth)))
                for place in range(4):
                    ctx.set(dut.load.lists[place], int(rng.integers(2**12)))

    async def bench(ctx):
        await prepare(ctx, dut, CONFIG, lists)
        prepared.append(True)
        await feed(ctx, dut, rng, tokens, idle)
        await forget(ctx, dut)
        for context in range(2):
            sums = await drain(ctx, dut, CONFIG, context)
            assert sums == expected_sums(lists, tokens, CONFIG, context)

    simulate(dut, bench, write, budget=6000)


@pytest.mark.parametrize("fifo_depth", [4, 8, 16])
def test_no_token_is_lost_when_one_lane_is_slow(simulate, rng, fifo_depth):
    """The fast lanes wait for the slow one, which is never idle and takes one cycle a product."""
    config = replace(CONFIG, fifo_depth=fifo_depth)
    dut = shared_group(config)
    lists = random_lists(rng, config, [[1] * 8, [8] * 8, [0] * 8, [3] * 8])
    tokens = [(127 - index, index % 8, index % 2) for index in range(60)]

    async def bench(ctx):
        await prepare(ctx, dut, config, lists)
        cycles, _, _ = await feed(ctx, dut, rng, tokens, 0)
        for context in range(2):
            sums = await drain(ctx, dut, config, context)
            assert sums == expected_sums(lists, tokens, config, context)
        assert 8 * 60 < cycles <= 8 * 60 + 20

    simulate(dut, bench, budget=2000)


def test_one_token_per_cycle_while_lists_are_short(simulate, rng):
    dut = shared_group(CONFIG)
    lists = random_lists(rng, CONFIG, [[1, 0] * 4, [0, 1] * 4, [1] * 8, [0] * 8])
    tokens = [(3, index % 8, 0) for index in range(200)]

    async def bench(ctx):
        await prepare(ctx, dut, CONFIG, lists)
        _, _, taken = await feed(ctx, dut, rng, tokens, 0)
        assert taken == 200 + CONFIG.contexts - 1

    simulate(dut, bench, budget=1000)


def test_done_waits_for_all_lanes_and_stays_until_armed(simulate, rng):
    dut = shared_group(CONFIG)
    lists = random_lists(rng, CONFIG, [[8], [0], [0], [0]])

    async def bench(ctx):
        await prepare(ctx, dut, CONFIG, lists)
        while not ctx.get(dut.i.ready):
            await ctx.tick()
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload.stop, 1)
        ctx.set(dut.i.payload.context, 1)
        await ctx.tick()
        ctx.set(dut.i.payload.last, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        products = 0
        while not ctx.get(dut.done):
            products += ctx.get(dut.issue).bit_count()
            await ctx.tick()
        assert products == 8
        for _ in range(5):
            assert ctx.get(dut.done) == 2
            await ctx.tick()
        ctx.set(dut.arm, 1)
        await ctx.tick()
        assert ctx.get(dut.done) == 2
        ctx.set(dut.arm, 2)
        await ctx.tick()
        assert ctx.get(dut.done) == 0

    simulate(dut, bench, budget=400)


def test_a_dropped_list_is_told_by_the_lane_that_had_nothing_else(simulate, rng):
    dut = shared_group(CONFIG)
    lists = random_lists(rng, CONFIG, [[0], [4], [0], [4]])

    async def bench(ctx):
        await prepare(ctx, dut, CONFIG, lists)
        while not ctx.get(dut.i.ready):
            await ctx.tick()
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload.stop, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        seen = np.zeros(4, dtype=int)
        for _ in range(20):
            seen += [ctx.get(dut.empty) >> lane & 1 for lane in range(4)]
            assert not ctx.get(dut.empty) & ctx.get(dut.issue)
            await ctx.tick()
        assert seen.tolist() == [1, 0, 1, 0]

    simulate(dut, bench, budget=400)
