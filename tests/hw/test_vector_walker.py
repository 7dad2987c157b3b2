from dataclasses import replace
from functools import cache

import pytest

from jpnet_hw.vector_walker import VectorWalker
from jpnet_spec.config import AcceleratorConfig

shared_vector_walker = cache(VectorWalker)

CONFIG = AcceleratorConfig(lanes=4, clusters=4, act_word=8, act_depth=1024, pointer_depth=4096)


async def walk(ctx, dut, job, rng):
    """Return what a job offers, taken with pauses."""
    for name, value in job.items():
        ctx.set(dut.job[name], value)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)
    words = []
    while True:
        taken = ctx.get(dut.valid) and rng.random() < 0.8
        ctx.set(dut.taken, int(bool(taken)))
        if taken:
            word = {name: ctx.get(dut.o[name]) for name in dut.o.shape().members}
            words.append(word)
        await ctx.tick()
        ctx.set(dut.taken, 0)
        if taken and word["end"]:
            assert not ctx.get(dut.valid)
            return words[:-1]


@pytest.mark.parametrize(("words", "tail", "pixel_words"), [(0, 0, 1), (1, 4, 1), (9, 3, 3)])
@pytest.mark.parametrize("divided", [0, 1])
def test_a_vector_is_walked_word_by_word(simulate, rng, words, tail, pixel_words, divided):
    config = replace(CONFIG, groups=2)
    dut = shared_vector_walker(config)
    job = {
        "base": 3,
        "words": words,
        "tail": tail,
        "pixel_words": pixel_words,
        "pointer_base": 11,
        "channel_lists": 1,
        "divided": divided,
    }
    expected = [
        {
            "bank": 1,
            "address": 3 + index,
            "lists": 11 + index * config.act_word // (1 + divided),
            "line": 0,
            "column": 0,
            "used": tail if tail and index % pixel_words == pixel_words - 1 else 8,
            "end": 0,
        }
        for index in range(words)
    ]

    async def bench(ctx):
        ctx.set(dut.cluster, 1)
        assert await walk(ctx, dut, job, rng) == expected

    simulate(dut, bench, budget=200)


def test_words_of_an_arriving_image_are_waited_for(simulate):
    dut = shared_vector_walker(CONFIG)

    async def bench(ctx):
        for name, value in {"words": 5, "pixel_words": 5, "limited": 1}.items():
            ctx.set(dut.job[name], value)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for there in range(1, 5):
            ends = there == 4
            await ctx.tick().repeat(3)
            assert ctx.get(dut.waiting)
            assert not ctx.get(dut.valid)
            ctx.set(dut.job.limit, there + 2 - ends)
            ctx.set(dut.job.limited, int(not ends))
            await ctx.tick().repeat(3)
            assert ctx.get(dut.valid)
            assert not ctx.get(dut.waiting)
            ctx.set(dut.taken, 1)
            await ctx.tick().repeat(1 + ends)
            ctx.set(dut.taken, 0)
        assert ctx.get(dut.o.end)

    simulate(dut, bench, budget=200)
