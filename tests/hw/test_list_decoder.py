"""The decoder of packed lists against the one definition of the format."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from jpnet_cosim.packed_samples import random_fields
from jpnet_hw.list_decoder import ListDecoder
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import UNIT_WORDS
from jpnet_spec.packed_lists import FIELDS, EntryDecoder, ListPacking

shared_list_decoder = cache(ListDecoder)

CONFIG = AcceleratorConfig(list_decoder=1, acc_depth=256)


async def decode(ctx, dut, packed, units, entries, *, idle, rng, count=None):
    """Return the entries that come, and whether the section is bad."""
    shape = packed.shape
    ctx.set(dut.shape.runs, int(shape.is_runs))
    ctx.set(dut.shape.rows, shape.rows)
    ctx.set(dut.shape.columns, shape.columns)
    ctx.set(dut.shape.code, packed.code)
    ctx.set(dut.shape.begins, int(packed.begins))
    ctx.set(dut.units, len(units) if count is None else count)
    ctx.set(dut.entries, entries)
    ctx.set(dut.begin, 1)
    await ctx.tick()
    ctx.set(dut.begin, 0)
    got, waiting = [], [int(unit) for unit in units]
    for _ in range(40 * (entries + len(units)) + 40):
        offered = bool(waiting) and rng.random() >= idle
        ctx.set(dut.i.valid, int(offered))
        ctx.set(dut.i.payload, waiting[0] if offered else 0)
        if offered and ctx.get(dut.i.ready):
            waiting.pop(0)
        if ctx.get(dut.o_valid):
            got.append([ctx.get(item) for item in dut.o])
        done, bad = ctx.get(dut.done), ctx.get(dut.bad)
        await ctx.tick()
        if done:
            return np.array(got).reshape(-1, FIELDS), bool(bad)
    raise AssertionError("the section never ended")


def wanted(packed, units, entries, decoder):
    found = decoder.decode(
        units, packed.shape, entries=entries, begins=packed.begins, code=packed.code
    )
    return (found.rows << 8) | found.weights


@pytest.mark.parametrize("packing", [ListPacking.RUN_LENGTH, ListPacking.BLOCKS])
@pytest.mark.parametrize("idle", [0.0, 0.6])
def test_entries_are_those_of_the_format(simulate, packing, idle):
    rng = np.random.default_rng(int(10 * idle) + packing)
    dut = shared_list_decoder(CONFIG)

    async def bench(ctx):
        for rows, columns in ((1, 1), (2, 3), (5, 1), (24, 5), (100, 2), (1, 255), (256, 1)):
            packed = random_fields(rng, packing, rows=rows, columns=columns, entries=60)
            entries = len(packed.codes)
            weights = rng.integers(256, size=(entries, FIELDS)).astype(np.uint8)
            software = EntryDecoder()
            cuts = sorted({0, *rng.integers(1, entries, 2).tolist(), entries})
            for begin, end in pairwise(cuts):
                piece = packed.piece(begin, end)
                units = piece.pack(weights[begin:end])
                got, bad = await decode(ctx, dut, piece, units, end - begin, idle=idle, rng=rng)
                assert not bad
                np.testing.assert_array_equal(got, wanted(piece, units, end - begin, software))

    simulate(dut, bench, budget=40_000)


def test_one_row_of_entries_a_cycle(simulate):
    rng = np.random.default_rng(3)
    dut = shared_list_decoder(CONFIG)
    packed = random_fields(rng, ListPacking.RUN_LENGTH, rows=24, columns=1, entries=200)
    units = packed.pack(rng.integers(256, size=(200, FIELDS)).astype(np.uint8))

    async def bench(ctx):
        ctx.set(dut.shape.runs, 1)
        ctx.set(dut.shape.rows, 24)
        ctx.set(dut.shape.columns, 1)
        ctx.set(dut.shape.code, packed.code)
        ctx.set(dut.shape.begins, 1)
        ctx.set(dut.units, len(units))
        ctx.set(dut.entries, 200)
        ctx.set(dut.begin, 1)
        ctx.set(dut.i.valid, 1)
        cycles, place = 0, 0
        while not ctx.get(dut.done):
            ctx.set(dut.i.payload, int(units[min(place, len(units) - 1)]))
            place += ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            cycles += 1
        assert cycles <= 200 + 4

    simulate(dut, bench, budget=40_000)


@pytest.mark.parametrize("packing", [ListPacking.RUN_LENGTH, ListPacking.BLOCKS])
def test_wrong_lengths_and_codes_are_bad(simulate, packing):
    rng = np.random.default_rng(7)
    dut = shared_list_decoder(CONFIG)
    packed = random_fields(rng, packing, rows=24, columns=1, entries=40)
    entries = len(packed.codes)
    units = packed.pack(rng.integers(256, size=(entries, FIELDS)).astype(np.uint8))
    none = np.zeros(UNIT_WORDS, dtype=np.uint64)

    async def bench(ctx):
        async def ends(units, entries):
            _, bad = await decode(ctx, dut, packed, units, entries, idle=0.3, rng=rng)
            return bad

        assert not await ends(units, entries)
        assert await ends(units[:-1], entries)
        assert await ends(np.concatenate([units, none]), entries)
        assert await ends(units, entries - 20)
        assert await ends(units, entries + 20)
        assert not await ends(units, entries)
        if packing is ListPacking.BLOCKS:
            wrong = np.full_like(units, 2**64 - 1)
            assert await ends(wrong, entries)

    simulate(dut, bench, budget=40_000)
