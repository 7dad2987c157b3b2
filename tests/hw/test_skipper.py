from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from jpnet_hw.skipper import ZeroSkipper
from jpnet_hw.word_network import WordNetwork
from jpnet_spec.config import AcceleratorConfig

shared_zero_skipper = cache(ZeroSkipper)

CONFIG = AcceleratorConfig(act_word=8, lanes=2, groups=2, act_depth=64, pointer_depth=1024)


def bank_bench(dut, tensor, base):
    """Answer word addresses as the bank does."""

    async def bench(ctx):
        answers = [0] * WordNetwork.LATENCY
        ctx.set(dut.granted, 1)
        async for _ in ctx.tick():
            address = ctx.get(dut.ask.address) - base
            word = tensor[address] if 0 <= address < len(tensor) else np.full(8, 77, np.int8)
            ctx.set(dut.word, answers.pop(0))
            answers.append(int.from_bytes(word.tobytes(), "little"))

    return bench


def survivors(tensor, theta, dense):
    flat = tensor.ravel().astype(int)
    return [(i, a) for i, a in enumerate(flat) if dense or abs(a) > theta]


def set_job(ctx, dut, context, *, words, theta, dense, divided, pointer_base):
    job = dut.jobs[context]
    ctx.set(job.base, 5)
    ctx.set(job.words, words)
    ctx.set(job.pixel_words, words)
    ctx.set(job.channel_lists, 1)
    ctx.set(job.run_lists, 1)
    ctx.set(job.theta, theta)
    ctx.set(job.dense, int(dense))
    ctx.set(job.divided, int(divided))
    ctx.set(job.pointer_base, pointer_base)


async def collect(ctx, dut, rng, *, stall, **job):
    divided = job["divided"]
    ctx.set(dut.oldest, 1)
    ctx.set(dut.begin, 1)
    set_job(ctx, dut, 0, **job)
    await ctx.tick()
    ctx.set(dut.begin, 0)
    tokens, cycles, counts = [], [], [0, 0, 0]
    for cycle in range(100000):
        ready = int(rng.random() >= stall)
        ctx.set(dut.o.ready, ready)
        counts[0] += ctx.get(dut.read_count)
        counts[1] += ctx.get(dut.zero_count)
        counts[2] += ctx.get(dut.below_count)
        if ready and ctx.get(dut.o.valid):
            token = dut.o.payload
            if ctx.get(token.last):
                await ctx.tick()
                assert not ctx.get(dut.busy)
                return tokens, cycles, counts
            owner = ctx.get(token.owner) if divided else None
            assert ctx.get(token.stop) == ctx.get(token.pointer) + 1
            assert ctx.get(token.base) == 0
            tokens.append((ctx.get(token.pointer), owner, ctx.get(token.act)))
            cycles.append(cycle)
        assert ctx.get(dut.busy) == (cycle > 0)
        await ctx.tick()
    raise AssertionError("no end of job")


@pytest.mark.parametrize("density", [0, 0.03, 0.3, 1])
@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize(
    ("theta", "dense", "divided"), [(0, False, False), (60, False, True), (9, True, False)]
)
def test_exactly_the_survivors_come_in_order(simulate, rng, density, stall, theta, dense, divided):
    tensor = (rng.integers(-127, 128, (24, 8)) * (rng.random((24, 8)) < density)).astype(np.int8)
    dut = shared_zero_skipper(CONFIG)

    async def bench(ctx):
        tokens, _, counts = await collect(
            ctx,
            dut,
            rng,
            stall=stall,
            words=24,
            theta=theta,
            dense=dense,
            divided=divided,
            pointer_base=100,
        )
        expected = [
            (100 + index // 2, index % 2, act) if divided else (100 + index, None, act)
            for index, act in survivors(tensor, theta, dense)
        ]
        assert tokens == expected
        zeros = 0 if dense else int((tensor == 0).sum())
        assert counts == [192, zeros, 192 - zeros - len(expected)]

    simulate(dut, bench, bank_bench(dut, tensor, 5), budget=2000)


def test_one_survivor_per_cycle_without_gaps(simulate, rng):
    tensor = rng.integers(1, 128, (16, 8)).astype(np.int8)
    tensor[:, 3:] = 0
    tensor[7] = 0
    dut = shared_zero_skipper(CONFIG)

    async def bench(ctx):
        _, cycles, _ = await collect(
            ctx,
            dut,
            rng,
            stall=0,
            words=16,
            theta=0,
            dense=False,
            divided=False,
            pointer_base=0,
        )
        assert np.diff(cycles).tolist() == [1] * 44
        assert cycles[0] + 1 == dut.LATENCY

    simulate(dut, bench, bank_bench(dut, tensor, 5), budget=200)


@pytest.mark.parametrize("dense", [False, True])
def test_slots_after_the_tail_are_nothing_of_the_tensor(simulate, rng, dense):
    tensor = rng.integers(1, 128, (3, 8)).astype(np.int8)
    dut = shared_zero_skipper(CONFIG)

    async def bench(ctx):
        options = {"stall": 0, "theta": 0, "divided": False, "pointer_base": 0}
        for tail in (1, 6, 0, 7):
            ctx.set(dut.jobs[0].tail, tail)
            tokens, _, counts = await collect(ctx, dut, rng, words=3, dense=dense, **options)
            inside = 16 + (tail or 8)
            assert [act for _, _, act in tokens] == tensor.ravel()[:inside].tolist()
            assert counts == [inside, 0, 0]

    simulate(dut, bench, bank_bench(dut, tensor, 5), budget=500)


@pytest.mark.parametrize("dense", [False, True])
def test_blank_slots_are_nothing_of_the_tensor(simulate, rng, dense):
    tensor = rng.integers(1, 128, (3, 8)).astype(np.int8)
    dut = shared_zero_skipper(CONFIG)

    async def bench(ctx):
        options = {"stall": 0, "theta": 0, "divided": False, "pointer_base": 0}
        for blank, tail in ((0b10001000, 0), (0b01111110, 7), (0xFF, 0), (0xFE, 1)):
            ctx.set(dut.jobs[0].blank, blank)
            ctx.set(dut.jobs[0].tail, tail)
            tokens, _, counts = await collect(ctx, dut, rng, words=3, dense=dense, **options)
            inside = [
                (place, act)
                for place, act in enumerate(tensor.ravel().tolist())
                if not blank >> place % 8 & 1 and not (tail and place >= 16 + tail)
            ]
            assert [(place, act) for place, _, act in tokens] == inside
            assert counts == [len(inside), 0, 0]

    simulate(dut, bench, bank_bench(dut, tensor, 5), budget=500)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("channels", "packing"), [(1, 3), (2, 2), (3, 1)])
def test_a_convolution_takes_exactly_the_pixels_of_packed_rows(
    simulate, rng, channels, packing, dense
):
    width, kernel, taps = 13, 3, 3
    pixels, slots = 1 << packing, 8 >> packing
    words = -(-width // pixels)
    tensor = rng.integers(1, 128, (4 * words, 8)) * (rng.random((4 * words, 8)) < 0.5)
    tensor = tensor.astype(np.int8)
    job = {
        "convolution": 1,
        "packing": packing,
        "rows": 2,
        "line_rows": 22,
        "kernel_height": kernel,
    }
    job |= {"source_height": 4, "source_width": width, "source_row_words": words, "blocks": 2}
    job |= {"output_height": 2, "last_column": 10, "run_lists": taps, "channel_lists": 9}
    job |= {"blank": 0b10001000 if channels == 3 else 0}
    dut = shared_zero_skipper(replace(CONFIG, clusters=1))

    async def bench(ctx):
        set_job(ctx, dut, 0, words=0, theta=0, dense=dense, divided=False, pointer_base=3)
        for name, value in (job | {"pixel_words": 1}).items():
            ctx.set(dut.jobs[0][name], value)
        ctx.set(dut.oldest, 1)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        names, tokens = ("act", "pointer", "stop", "base"), []
        while True:
            token = dut.o.payload
            if ctx.get(dut.o.valid) and ctx.get(token.last):
                break
            if ctx.get(dut.o.valid):
                tokens.append(tuple(ctx.get(token[name]) for name in names))
            await ctx.tick()
        assert tokens == [
            (
                act,
                3 + 9 * channel + ky * taps + first,
                3 + 9 * channel + ky * taps + min(taps, x + 1),
                22 * row + 2 * x,
            )
            for row in range(2)
            for ky in range(kernel)
            for x in range(width)
            for channel in range(channels)
            for act in [tensor[(row + ky) * words + x // pixels, x % pixels * slots + channel]]
            for first in [max(0, x - 10)]
            if dense or act
        ]

    simulate(dut, bench, bank_bench(dut, tensor, 5), budget=1000)


def test_no_words_give_the_end_alone_and_the_next_job_is_whole(simulate, rng):
    tensor = rng.integers(1, 128, (2, 8)).astype(np.int8)
    dut = shared_zero_skipper(CONFIG)

    async def bench(ctx):
        options = {"stall": 0.3, "theta": 0, "dense": False, "divided": False, "pointer_base": 0}
        for words in (0, 2, 0, 1):
            tokens, _, counts = await collect(ctx, dut, rng, words=words, **options)
            assert [act for _, _, act in tokens] == tensor[:words].ravel().tolist()
            assert counts[0] == 8 * words

    simulate(dut, bench, bank_bench(dut, tensor, 5), budget=400)


def test_extreme_magnitudes_compare_exactly(simulate, rng):
    values = [127, -127, 126, -126, 1, -1, 0, 64]
    tensor = np.array([values], dtype=np.int8)
    dut = shared_zero_skipper(CONFIG)

    async def bench(ctx):
        for theta in (0, 1, 63, 64, 125, 126, 127):
            tokens, _, _ = await collect(
                ctx,
                dut,
                rng,
                stall=0,
                words=1,
                theta=theta,
                dense=False,
                divided=False,
                pointer_base=0,
            )
            assert [act for _, _, act in tokens] == [a for a in values if abs(a) > theta]

    simulate(dut, bench, bank_bench(dut, tensor, 5), budget=400)


def test_words_that_have_not_come_are_waited_for(simulate, rng):
    tensor = rng.integers(1, 128, (4, 8)).astype(np.int8)
    dut = shared_zero_skipper(CONFIG)
    arrived = 0

    async def trickle(ctx):
        nonlocal arrived
        for arrived in range(5):
            ctx.set(dut.jobs[0].limit, arrived)
            ctx.set(dut.jobs[0].limited, int(arrived < 4))
            await ctx.tick().repeat(50)

    async def bench(ctx):
        tokens, cycles, _ = await collect(
            ctx,
            dut,
            rng,
            stall=0,
            words=4,
            theta=0,
            dense=False,
            divided=False,
            pointer_base=0,
        )
        assert [act for _, _, act in tokens] == tensor.ravel().tolist()
        assert [cycle // 50 for cycle in cycles] == [3] * 24 + [4] * 8

    simulate(dut, bench, bank_bench(dut, tensor, 5), trickle, budget=400)


async def tokens_of_all(ctx, dut, rng, contexts, *, stall):
    """Run jobs that were started together; return (cycle, context, act or None at the end)."""
    seen, ended = [], 0
    for cycle in range(2000):
        ctx.set(dut.o.ready, int(rng.random() >= stall))
        if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
            token = dut.o.payload
            last = ctx.get(token.last)
            seen.append((cycle, ctx.get(token.context), None if last else ctx.get(token.act)))
            ended += last
        await ctx.tick()
        if ended == contexts:
            assert ctx.get(dut.busy) == 0
            return seen
    raise AssertionError("a job did not end")


@pytest.mark.parametrize(("stall", "hold"), [(0, 0), (0.5, 0), (0.3, 0.5)])
@pytest.mark.parametrize("oldest", range(4))
def test_contexts_share_the_skipper_and_the_oldest_image_comes_first(
    simulate, rng, oldest, stall, hold
):
    config = replace(CONFIG, contexts=4)
    shape = (4, 12, 8)
    tensors = (rng.integers(1, 128, shape) * (rng.random(shape) < 0.4)).astype(np.int8)
    dut = shared_zero_skipper(config)

    async def banks(ctx):
        answers = [0] * WordNetwork.LATENCY
        async for _ in ctx.tick():
            context, address = divmod(ctx.get(dut.ask.address), config.act_depth)
            granted = rng.random() >= hold
            ctx.set(dut.granted, int(granted))
            word = np.full(8, 77, np.int8)
            if granted and 5 <= address < 17:
                word = tensors[context][address - 5]
            ctx.set(dut.word, answers.pop(0))
            answers.append(int.from_bytes(word.tobytes(), "little"))

    async def bench(ctx):
        ctx.set(dut.oldest, 1 << oldest)
        for context in range(4):
            fields = {"dense": False, "divided": False, "pointer_base": 0}
            set_job(ctx, dut, context, words=12, theta=context * 20, **fields)
        ctx.set(dut.begin, 15)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        seen = await tokens_of_all(ctx, dut, rng, 4, stall=stall)
        for context in range(4):
            mine = [act for _, owner, act in seen if owner == context]
            flat = tensors[context].ravel().tolist()
            assert mine == [*(act for act in flat if act > context * 20), None]
        ends = [owner for _, owner, act in seen if act is None]
        if not stall:
            assert ends == [(oldest + age) % 4 for age in range(4)]

    simulate(dut, bench, banks, budget=2000)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("cluster", [0, 3])
def test_a_cluster_takes_another_output_row_in_each_context(simulate, rng, cluster, rows):
    config = replace(CONFIG, clusters=4, contexts=4)
    dut = shared_zero_skipper(config)
    tensor = rng.integers(1, 128, (4, 8)).astype(np.int8)
    job = {"convolution": 1, "rows": 1, "line_rows": 1, "kernel_height": 1, "blocks": 1}
    job |= {"source_height": 4, "source_width": 1, "source_row_words": 1, "pixel_words": 1}

    async def bench(ctx):
        ctx.set(dut.cluster, cluster)
        ctx.set(dut.oldest, 1)
        for context in range(4):
            fields = {"dense": False, "divided": False, "pointer_base": 0}
            set_job(ctx, dut, context, words=0, theta=0, **fields)
            for name, value in (job | {"output_height": rows}).items():
                ctx.set(dut.jobs[context][name], value)
        ctx.set(dut.begin, 15)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        seen = await tokens_of_all(ctx, dut, rng, 4, stall=0)
        for context, turn in enumerate(config.turns):
            acts = [act for _, owner, act in seen if owner == context and act is not None]
            # Only the first places have an output row.
            assert len(acts) == (8 if (cluster + turn) % 4 < rows else 0)

    simulate(dut, bench, bank_bench(dut, tensor, 5), budget=400)
