from functools import cache

import numpy as np
import pytest

from jpnet_hw.threshold import ThresholdCounter
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.topn import ThresholdMode, TopN

shared_threshold_counter = cache(ThresholdCounter)


def config_for(lanes):
    width = max(64, 8 * lanes)
    return AcceleratorConfig(lanes=lanes, clusters=1, act_word=max(16, lanes), axi_data_width=width)


def run(simulate, lanes, tensors, gap=0, count_width=17):
    """Feed tensors (magnitudes, counted, winners) and compare each threshold and its cycle."""
    dut = shared_threshold_counter(config_for(lanes), count_width=count_width)
    rows = [
        (number, row, len(magnitudes))
        for number, (magnitudes, _, _) in enumerate(tensors)
        for row in range(-max(gap, dut.TILE_CYCLES - len(magnitudes)), len(magnitudes))
    ]

    async def bench(ctx):
        got = {}
        expected = {}
        ctx.set(dut.opens, 1)
        ctx.set(dut.closes, 1)
        for cycle in range(len(rows) + dut.LATENCY + 1):
            number, row, count = rows[cycle] if cycle < len(rows) else (0, -1, 0)
            magnitudes, counted, winners = tensors[number]
            _, coming, of = rows[cycle + 1] if cycle + 1 < len(rows) else (0, -1, 0)
            ctx.set(dut.coming_last, coming == of - 1 >= 0)
            ctx.set(dut.valid, row >= 0)
            ctx.set(dut.first, row == 0)
            ctx.set(dut.last, row == count - 1)
            if row >= 0:
                ctx.set(dut.winners, winners)
                ctx.set(dut.magnitudes, [int(value) for value in magnitudes[row]])
                ctx.set(dut.counted, int(counted[row] @ (1 << np.arange(lanes))))
                if row == count - 1:
                    expected[cycle + dut.LATENCY] = dut.model(magnitudes, counted, winners)
            if ctx.get(dut.done):
                got[cycle] = ctx.get(dut.theta)
            await ctx.tick()
        assert got == expected

    simulate(dut, bench, budget=len(rows) + 200)


def tensor(rng, rows, lanes, winners, counted=1.0):
    magnitudes = np.minimum(rng.geometric(0.05, (rows, lanes)) - 1, 127)
    return magnitudes, rng.random((rows, lanes)) < counted, winners


@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
@pytest.mark.parametrize("gap", [0, 3])
def test_random_tensors_match_model(lanes, gap, rng, simulate):
    tensors = [
        tensor(rng, int(rows), lanes, int(rng.integers(0, rows * lanes + 2)), counted)
        for rows, counted in zip([1, 2, 7, 75, 25, 1, 1, 40], [1, 0.5] * 4, strict=True)
    ]
    run(simulate, lanes, tensors, gap)


def test_extreme_tensors(simulate):
    everything = np.ones((8, 4), dtype=np.bool_)
    tensors = [
        (np.full((8, 4), magnitude), counted, winners)
        for magnitude in (0, 1, 126, 127)
        for counted in (everything, ~everything)
        for winners in (0, 1, 31, 32, 65535, 65536, 2**24 - 1)
    ]
    run(simulate, 4, tensors)


@pytest.mark.parametrize("threshold", range(0, 128, 7))
def test_every_threshold_is_reached_at_exactly_n_winners(threshold, simulate):
    magnitudes = np.arange(128).reshape(32, 4)
    counted = np.ones((32, 4), dtype=np.bool_)
    run(simulate, 4, [(magnitudes, counted, 127 - threshold)])


def test_counters_stay_negative_when_more_elements_come_than_they_count(simulate):
    magnitudes = np.full((25, 4), 127)
    counted = np.ones((25, 4), dtype=np.bool_)
    run(simulate, 4, [(magnitudes, counted, 3)], count_width=5)


@pytest.mark.parametrize("mode", [ThresholdMode.EXACT, ThresholdMode.SAMPLED])
def test_model_agrees_with_reference(mode, rng):
    top_n = TopN(mode=mode, winners=30, sample_stride=4)
    acts = rng.integers(-127, 128, (1, 120)).astype(np.int8)
    counted = top_n.sampled(120)
    expected = top_n.threshold(acts)[0]
    magnitudes = np.abs(acts.astype(np.int64)).reshape(120, 1)
    winners = top_n.counted_winners(120)
    assert ThresholdCounter.model(magnitudes, counted, winners) == expected


def test_tiles_of_several_contexts_take_turns(simulate, rng):
    """Each context's tensor comes in tiles between those of the others, without gaps."""
    lanes, contexts, tiles = 4, 4, 5
    dut = shared_threshold_counter(config_for(lanes))
    tensors = [
        [tensor(rng, int(rng.integers(1, 6)), lanes, 0, 0.8)[:2] for _ in range(tiles)]
        for _ in range(contexts)
    ]
    winners = [int(rng.integers(0, 40)) for _ in range(contexts)]
    rows = []
    for tile in range(tiles):
        for context in [*np.roll(rng.permutation(contexts - 1), tile).tolist(), contexts - 1]:
            magnitudes, counted = tensors[context][tile]
            count = len(magnitudes)
            rows += [None] * (dut.TILE_CYCLES - count)
            rows += [
                (context, tile, row, count, magnitudes[row], counted[row]) for row in range(count)
            ]

    async def bench(ctx):
        got, expected = {}, {}
        for cycle in range(len(rows) + dut.LATENCY + 1):
            row, coming = [*rows, *[None] * (dut.LATENCY + 2)][cycle : cycle + 2]
            ctx.set(dut.coming_last, int(coming is not None and coming[2] == coming[3] - 1))
            ctx.set(dut.valid, int(row is not None))
            if row is not None:
                context, tile, row, count, magnitudes, counted = rows[cycle]
                ctx.set(dut.context, context)
                ctx.set(dut.opens, int(tile == 0))
                ctx.set(dut.closes, int(tile == tiles - 1))
                ctx.set(dut.first, int(row == 0))
                ctx.set(dut.last, int(row == count - 1))
                ctx.set(dut.winners, winners[context])
                ctx.set(dut.magnitudes, [int(value) for value in magnitudes])
                ctx.set(dut.counted, int(counted @ (1 << np.arange(lanes))))
                if tile == tiles - 1 and row == count - 1:
                    parts = tensors[context]
                    whole = [np.concatenate([part[index] for part in parts]) for index in (0, 1)]
                    expected[cycle + dut.LATENCY] = dut.model(*whole, winners[context])
            if ctx.get(dut.done):
                got[cycle] = ctx.get(dut.theta)
            await ctx.tick()
        assert got == expected

    simulate(dut, bench, budget=len(rows) + 200)
