from dataclasses import replace
from functools import cache

import pytest

from jpnet_hw.token_builder import TokenBuilder
from jpnet_spec.config import AcceleratorConfig

shared_token_builder = cache(TokenBuilder)

CONFIG = AcceleratorConfig(
    lanes=4, groups=4, clusters=2, contexts=2, act_word=8, acc_depth=512, pointer_depth=1024
)
VECTOR = {
    "packing": 0,
    "divided": 0,
    "stride_log2": 0,
    "last_column": 0,
    "run_lists": 1,
    "channel_lists": 1,
    "phase_lists": 0,
    "rows": 13,
}


def model(config, word, job):
    """Return a word's tokens."""
    tokens = []
    for slot, act in enumerate(word["acts"]):
        if not word["keep"] >> slot & 1:
            continue
        pixel, channel = divmod(slot, config.act_word >> job["packing"])
        output, phase = divmod(word["column"] + pixel, 1 << job["stride_log2"])
        first = max(0, output - job["last_column"])
        count = min(job["run_lists"], output + 1) - first
        place = channel // config.groups if job["divided"] else channel
        lists = word["lists"] + phase * job["phase_lists"] + place * job["channel_lists"] + first
        tokens.append(
            {
                "act": act,
                "pointer": lists % config.pointer_depth,
                "stop": (lists + count) % config.pointer_depth,
                "base": (word["line"] + output * job["rows"]) % 2**config.acc_row_width,
                "context": word["context"],
                "owner": channel % config.groups if job["divided"] else None,
                "last": 0,
            }
        )
    return tokens


def random_job(rng, config):
    stride_log2 = int(rng.integers(3))
    return {
        "packing": int(rng.integers(config.act_word.bit_length())),
        "divided": int(rng.integers(2)),
        "stride_log2": stride_log2,
        "last_column": int(rng.choice([0, 1, 5, 40, 4095])),
        "run_lists": int(rng.choice([1, 2, 3, 7, 255])),
        "channel_lists": int(rng.choice([1, 9, config.pointer_depth - 1])),
        "phase_lists": int(rng.choice([0, 7, config.pointer_depth - 1])),
        "rows": int(rng.choice([0, 1, 13, config.acc_depth - 1])),
    }


def random_word(rng, config, jobs):
    """Return a word whose pixels all have an output in reach."""
    context = int(rng.integers(len(jobs)))
    job = jobs[context]
    pixels, slots = 1 << job["packing"], config.act_word >> job["packing"]
    seen = min((job["last_column"] + job["run_lists"]) << job["stride_log2"], 4095 + 255)
    used = min(pixels, seen) * slots
    last = max(0, seen - pixels)
    return {
        "acts": rng.integers(-127, 128, config.act_word).tolist(),
        "keep": int(rng.choice([1, 1 << used - 1, (1 << used) - 1, rng.integers(1, 1 << used)])),
        "context": context,
        "lists": int(rng.integers(config.pointer_depth)),
        "line": int(rng.integers(config.acc_depth)),
        "column": int(rng.choice([0, last, rng.integers(last + 1)])),
        "end": 0,
    }


def set_jobs(ctx, dut, jobs):
    for number, job in enumerate(jobs):
        for name, value in job.items():
            ctx.set(dut.jobs[number][name], value)


async def run(ctx, dut, words, rng, *, count, pauses=0.0, stall=0.0):
    """Return tokens and, counted from the cycle in which a word was first taken, their cycles."""
    left, tokens, cycles, start = list(words), [], [], None
    for cycle in range(60 * count + 60):
        if left and not ctx.get(dut.i_valid) and rng.random() >= pauses:
            word = left.pop(0)
            for name, value in word.items():
                ctx.set(dut.i[name], value)
            ctx.set(dut.i.more, int(word["keep"].bit_count() > 1))
            ctx.set(dut.i_valid, 1)
        ctx.set(dut.o.ready, int(rng.random() >= stall))
        if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
            payload = dut.o.payload
            token = {name: ctx.get(payload[name]) for name in payload.shape().members}
            token["owner"] = token["owner"] if token.pop("divided") else None
            tokens.append(token)
            cycles.append(cycle - start)
        taken = ctx.get(dut.i_valid) and ctx.get(dut.i_ready)
        start = cycle if taken and start is None else start
        await ctx.tick()
        if taken:
            ctx.set(dut.i_valid, 0)
        if len(tokens) == count:
            return tokens, cycles
    raise AssertionError("tokens are missing")


CONFIGS = {
    "edge": CONFIG,
    "one_group": replace(CONFIG, groups=1),
    "wide": replace(CONFIG, act_word=16, groups=2),
    "one_lane": replace(
        CONFIG, lanes=1, groups=16, contexts=1, act_word=32, pointer_depth=16, acc_depth=4
    ),
}


@pytest.mark.parametrize(("pauses", "stall"), [(0, 0), (0.4, 0), (0, 0.5)])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_survivors_meet_the_lists_of_their_pixel_and_channel(simulate, rng, name, pauses, stall):
    config = CONFIGS[name]
    dut = shared_token_builder(config)

    async def bench(ctx):
        for _ in range(20):
            jobs = [random_job(rng, config) for _ in range(config.contexts)]
            set_jobs(ctx, dut, jobs)
            words = [random_word(rng, config, jobs) for _ in range(6)]
            expected = [t for word in words for t in model(config, word, jobs[word["context"]])]
            options = {"count": len(expected), "pauses": pauses, "stall": stall}
            tokens, _ = await run(ctx, dut, words, rng, **options)
            assert tokens == expected

    simulate(dut, bench, budget=40000)


@pytest.mark.parametrize("packing", range(4))
def test_a_survivor_leaves_every_cycle_whatever_its_pixel(simulate, rng, packing):
    dut = shared_token_builder(CONFIG)
    job = VECTOR | {"packing": packing, "run_lists": 5, "last_column": 40, "channel_lists": 5}

    async def bench(ctx):
        set_jobs(ctx, dut, [job])
        keeps = [0xFF, 0x01, 0x80, 0x5A, 0x81, 0xFF]
        words = [
            random_word(rng, CONFIG, [job]) | {"keep": keep, "column": 8 * place}
            for place, keep in enumerate(keeps)
        ]
        count = sum(keep.bit_count() for keep in keeps)
        _, cycles = await run(ctx, dut, words, rng, count=count)
        assert cycles == [dut.LATENCY + place for place in range(count)]

    simulate(dut, bench, budget=400)


@pytest.mark.parametrize("divided", [0, 1])
def test_all_of_a_vector_has_one_list_each_and_no_base(simulate, rng, divided):
    dut = shared_token_builder(CONFIG)
    word = {"acts": [1, -1, 127, -127, 0, 2, 3, 4], "keep": 0xFF, "context": 1, "lists": 1020}
    word |= {"line": 0, "column": 0, "end": 0}

    async def bench(ctx):
        set_jobs(ctx, dut, [VECTOR, VECTOR | {"divided": divided}])
        tokens, _ = await run(ctx, dut, [word], rng, count=8)
        places = [slot // 4 if divided else slot for slot in range(8)]
        assert [token["pointer"] for token in tokens] == [(1020 + p) % 1024 for p in places]
        assert [token["stop"] for token in tokens] == [(1021 + p) % 1024 for p in places]
        assert [token["owner"] for token in tokens] == [
            slot % 4 if divided else None for slot in range(8)
        ]
        assert {token["base"] for token in tokens} == {0}
        assert [token["act"] for token in tokens] == word["acts"]

    simulate(dut, bench, budget=200)


def test_ends_keep_their_place_among_the_words(simulate, rng):
    dut = shared_token_builder(CONFIG)
    word = {"acts": [5] * 8, "keep": 0b110, "context": 0, "lists": 0, "line": 0, "column": 0}
    words = [
        word | {"end": 0},
        word | {"end": 1, "keep": 0},
        word | {"end": 1, "keep": 0, "context": 1},
        word | {"end": 0, "context": 1},
    ]

    async def bench(ctx):
        set_jobs(ctx, dut, [VECTOR, VECTOR])
        tokens, _ = await run(ctx, dut, words, rng, count=6, stall=0.3)
        assert [(token["last"], token["context"]) for token in tokens] == [
            (0, 0),
            (0, 0),
            (1, 0),
            (1, 1),
            (0, 1),
            (0, 1),
        ]

    simulate(dut, bench, budget=200)
