import zlib
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from jpnet_cosim.packed_samples import random_fields
from jpnet_hw.program_loader import ProgramLoader
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import (
    HEADER_WORDS,
    ROW_MODULUS,
    HeaderWord,
    Memory,
    Section,
    build_image,
)
from jpnet_spec.instruction import FORMAT_VERSION
from jpnet_spec.packed_lists import EntryDecoder, ListPacking

shared_program_loader = cache(ProgramLoader)

BASE = AcceleratorConfig(lanes=4, groups=4, clusters=1, act_depth=512)
CONFIG = replace(BASE, weight_depth=64, pointer_depth=32, param_depth=16, program_depth=4)
WIDE = replace(BASE, act_word=64, axi_data_width=512, clusters=4)
NARROW = replace(BASE, axi_data_width=32)
PACKED = AcceleratorConfig(act_depth=512, weight_depth=512, pointer_depth=32, list_decoder=1)
PACKED_NARROW = replace(PACKED, axi_data_width=32)
PACKED_WIDE = replace(PACKED, axi_data_width=256, act_word=32)
REGIONS = {"input_base": 3, "input_rows": 5, "result_base": 9, "result_rows": 2, "in_flight": 1}


WIDE_SECTION, PARAM_SECTION = 20, 28
"""First words of two of the sections."""


def words(rng, count):
    return rng.integers(0, 2**32, count, dtype=np.uint32)


def weights(rng, count, lanes, *, largest=127):
    rows = rng.integers(-largest - 1, largest + 1, (count, lanes)) % ROW_MODULUS
    return (rows << 8 | rng.integers(256, size=(count, lanes))).astype(np.uint32)


def pointers(rng, config, count, lanes):
    return rng.integers(config.weight_depth, size=(count, lanes), dtype=np.uint32)


def sections(rng, config):
    far = config.acc_depth - 1
    lanes = config.lanes
    return [
        Section(memory=Memory.WEIGHT, group=2, address=5, values=weights(rng, 7, 4)),
        Section(memory=Memory.POINTER, lane=lanes - 4, values=pointers(rng, config, 1, 4)),
        Section(
            memory=Memory.WEIGHT,
            wide=True,
            lane=2,
            address=config.weight_depth - 3,
            values=weights(rng, 3, 2, largest=far),
        ),
        Section(memory=Memory.PARAM, lane=2, address=4, values=words(rng, (3, 3))),
        Section(memory=Memory.POINTER, wide=True, values=pointers(rng, config, 2, 2)),
        Section(memory=Memory.INSTRUCTION, cluster=config.clusters - 1, values=words(rng, (32, 1))),
    ]


def expected_loads(config, parts):
    for part in parts:
        for index, values in enumerate(part.values):
            group = (0, 1) if part.group is None else (part.group, 0)
            place = (int(part.memory), part.lane, part.cluster, *group, part.address + index)
            if part.memory in (Memory.WEIGHT, Memory.POINTER):
                mask = 2 ** (config.entry_width if part.memory is Memory.WEIGHT else 16) - 1
                yield (*place, *(int(value) & mask for value in values))
            else:
                chunk = values.astype("<u4").tobytes()
                yield (*place, int.from_bytes(chunk, "little") & (2**72 - 1))


def seal(image):
    """Make both checksums right again."""
    image[HeaderWord.CHECKSUM] = zlib.crc32(image[: HeaderWord.CHECKSUM].astype("<u4").tobytes())
    return image


async def load(ctx, dut, image, rng, *, idle=0.0):
    """Load and return the entries and the error."""
    base = 0x1000
    ctx.set(dut.base, base)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)
    memory = image.astype("<u4").tobytes()
    size = len(dut.i.payload) // 8
    beats, entries, offered = [], [], False
    ctx.set(dut.transfers.ready, 1)
    while True:
        if ctx.get(dut.transfers.valid):
            start = ctx.get(dut.transfers.payload.address) - base
            count = ctx.get(dut.transfers.payload.beats)
            assert 0 <= start <= start + size * count <= len(memory)
            beats += [memory[start + size * i : start + size * (i + 1)] for i in range(count)]
        offered = bool(beats) and (offered or rng.random() >= idle)
        ctx.set(dut.i.valid, int(offered))
        if offered:
            ctx.set(dut.i.payload, int.from_bytes(beats[0], "little"))
            if ctx.get(dut.i.ready):
                beats.pop(0)
                offered = False
        if ctx.get(dut.load_valid):
            fields = ("memory", "lane", "cluster", "group", "all_groups", "address")
            place = [ctx.get(getattr(dut.load, field)) for field in fields]
            if place[0] in (Memory.WEIGHT, Memory.POINTER):
                lists = [ctx.get(item) for item in dut.load.lists]
                mask = 0xFFFF if place[0] == Memory.POINTER else -1
                if ctx.get(dut.load.wide):
                    assert lists[:2] == lists[2:]
                    lists = lists[:2]
                entries.append((*place, *(value & mask for value in lists)))
            else:
                bits = 72 if place[0] == Memory.PARAM else 32
                entries.append((*place, ctx.get(dut.load.data) & (2**bits - 1)))
        if ctx.get(dut.error_valid):
            return entries, ErrorCode(ctx.get(dut.error))
        if not ctx.get(dut.busy):
            return entries, ErrorCode.NONE
        await ctx.tick()


@pytest.mark.parametrize("config", [CONFIG, WIDE, NARROW])
@pytest.mark.parametrize("idle", [0, 0.5])
def test_every_entry_reaches_its_memory(simulate, rng, config, idle):
    dut = shared_program_loader(config)
    parts = sections(rng, config)
    image = build_image(config, parts, instructions=2, **REGIONS)

    async def bench(ctx):
        for _ in range(2):
            entries, error = await load(ctx, dut, image, rng, idle=idle)
            assert error is ErrorCode.NONE
            assert entries == list(expected_loads(config, parts))
            header = {name: ctx.get(getattr(dut.header, name)) for name in REGIONS}
            assert header == REGIONS
            assert ctx.get(dut.header.instructions) == 2

    simulate(dut, bench, budget=600)


def test_the_lists_of_four_lanes_take_a_cycle_an_entry(simulate, rng):
    dut = shared_program_loader(CONFIG)
    parts = [
        Section(memory=Memory.WEIGHT, address=8 * place, values=weights(rng, 8, 4))
        for place in range(8)
    ]
    image = build_image(CONFIG, parts, instructions=1, **REGIONS)

    async def bench(ctx):
        await load(ctx, dut, image, rng)

    simulate(dut, bench, budget=64 + 8 + 8 + 16)


def body_word(index, bit):
    """Flip a bit of the body and make its checksum right again."""

    def edit(image, body_words):
        image[HEADER_WORDS + index] ^= np.uint32(1 << bit)
        body = image[HEADER_WORDS : HEADER_WORDS + body_words]
        image[HEADER_WORDS + body_words] = zlib.crc32(body.astype("<u4").tobytes())

    return edit


def ends_one_past_its_memory(image, body_words):
    image[HEADER_WORDS + WIDE_SECTION + 1] += 1


def magic_and_version(image, body_words):
    image[[HeaderWord.MAGIC, HeaderWord.VERSION]] = 0


def header_word(word, value):
    def edit(image, body_words):
        image[word] = value
        seal(image)

    return edit


def flip(index, bit):
    def edit(image, body_words):
        image[index] ^= np.uint32(1 << bit)

    return edit


@pytest.mark.parametrize(
    ("code", "edit"),
    [
        (ErrorCode.BAD_MAGIC, header_word(HeaderWord.MAGIC, 0)),
        (ErrorCode.BAD_VERSION, header_word(HeaderWord.VERSION, FORMAT_VERSION + 1)),
        (ErrorCode.BAD_CONFIG, header_word(HeaderWord.CONFIG, 5)),
        (ErrorCode.BAD_CRC, flip(HeaderWord.TOTAL_WORDS, 4)),
        (ErrorCode.BAD_CRC, flip(HeaderWord.CHECKSUM, 0)),
        (ErrorCode.BAD_CRC, flip(HEADER_WORDS + 3, 31)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.TOTAL_WORDS, HEADER_WORDS)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.TOTAL_WORDS, HEADER_WORDS + 3)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.TOTAL_WORDS, HEADER_WORDS + 2)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.TOTAL_WORDS, HEADER_WORDS + 4)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.SECTIONS, 2**31)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.SECTIONS, 20)),
        (ErrorCode.BAD_CRC, header_word(HeaderWord.SECTIONS, 0)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.INSTRUCTIONS, 0)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.INSTRUCTIONS, 5)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.INPUT_ROWS, 0)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.INPUT_ROWS, 1019)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.INPUT_BASE, 510)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.RESULT_ROWS, 0)),
        (ErrorCode.BAD_SECTION, header_word(HeaderWord.RESULT_BASE, 2**16)),
        (ErrorCode.BAD_MAGIC, magic_and_version),
        (ErrorCode.BAD_SECTION, body_word(0, 3)),
        (ErrorCode.BAD_SECTION, body_word(0, 7)),
        (ErrorCode.BAD_SECTION, body_word(0, 8)),
        (ErrorCode.BAD_SECTION, body_word(0, 9)),
        (ErrorCode.BAD_SECTION, body_word(0, 10)),
        (ErrorCode.BAD_SECTION, body_word(WIDE_SECTION, 2)),
        (ErrorCode.BAD_SECTION, body_word(WIDE_SECTION, 8)),
        (ErrorCode.BAD_SECTION, body_word(PARAM_SECTION, 2)),
        (ErrorCode.BAD_SECTION, body_word(0, 17)),
        (ErrorCode.BAD_SECTION, body_word(0, 28)),
        (ErrorCode.BAD_SECTION, body_word(1, 6)),
        (ErrorCode.BAD_SECTION, body_word(1, 31)),
        (ErrorCode.BAD_SECTION, body_word(1, 22)),
        (ErrorCode.BAD_SECTION, ends_one_past_its_memory),
    ],
)
def test_a_wrong_image_is_refused(simulate, rng, code, edit):
    dut = shared_program_loader(CONFIG)
    parts = sections(rng, CONFIG)
    regions = REGIONS | {"in_flight": CONFIG.contexts}
    image = build_image(CONFIG, parts, instructions=2, **regions)
    edit(image, sum(len(part.encode()) for part in parts))

    async def bench(ctx):
        _, error = await load(ctx, dut, image, rng)
        assert error is code

    simulate(dut, bench, budget=300)


def test_a_section_without_entries_is_refused_at_once(simulate, rng):
    dut = shared_program_loader(CONFIG)
    image = build_image(CONFIG, sections(rng, CONFIG), instructions=2, **REGIONS)
    image[HEADER_WORDS + 1] &= 0xFFFF

    async def bench(ctx):
        entries, error = await load(ctx, dut, image, rng)
        assert error is ErrorCode.BAD_SECTION
        assert len(entries) <= 2

    simulate(dut, bench, budget=100)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("idle", [0, 0.5])
def test_a_wrong_section_of_one_entry_is_refused(simulate, rng, last, idle):
    dut = shared_program_loader(CONFIG)
    wrong = Section(memory=Memory.WEIGHT, address=CONFIG.weight_depth, values=weights(rng, 1, 4))
    good = Section(memory=Memory.WEIGHT, values=weights(rng, 5, 4))
    parts = [good, wrong] if last else [wrong, good]
    image = build_image(CONFIG, parts, instructions=2, **REGIONS)

    async def bench(ctx):
        _, error = await load(ctx, dut, image, rng, idle=idle)
        assert error is ErrorCode.BAD_SECTION

    simulate(dut, bench, budget=150)


def packed_pieces(rng, packing, *, pieces, entries=40, address=3):
    """Return sections that hold the lists of a layer in pieces."""
    fields = random_fields(rng, packing, rows=24, columns=3, entries=entries)
    count, decoder, sections = len(fields.codes), EntryDecoder(), []
    cuts = np.linspace(0, count, pieces + 1).astype(int).tolist()
    codes = rng.integers(256, size=(count, 4)).astype(np.uint8)
    for begin, end in pairwise(cuts):
        piece = fields.piece(begin, end)
        found = decoder.decode(
            piece.pack(codes[begin:end]),
            piece.shape,
            entries=end - begin,
            begins=piece.begins,
            code=piece.code,
        )
        values = (found.rows % ROW_MODULUS << 8 | found.weights).astype(np.uint32)
        sections.append(
            Section(memory=Memory.WEIGHT, address=address + begin, values=values, packed=piece)
        )
    return sections


def expected_lists(parts):
    """Return what the lanes are given, in order."""
    mask = 2**PACKED.entry_width - 1
    for part in parts:
        for index, values in enumerate(part.values):
            yield (int(part.memory), part.address + index, *(int(value) & mask for value in values))


def seen_lists(entries):
    """Return what came, in the same form."""
    mask = 2**PACKED.entry_width - 1
    for memory, _, _, _, _, address, *values in entries:
        yield (memory, address, *(value & mask for value in values))


@pytest.mark.parametrize("config", [PACKED, PACKED_WIDE, PACKED_NARROW])
@pytest.mark.parametrize("idle", [0, 0.5])
def test_every_packed_entry_reaches_its_memory(simulate, rng, config, idle):
    dut = shared_program_loader(config)
    runs = packed_pieces(rng, ListPacking.RUN_LENGTH, pieces=3)
    blocks = packed_pieces(rng, ListPacking.BLOCKS, pieces=2, address=100)
    table = Section(memory=Memory.POINTER, values=pointers(rng, config, 5, 4))
    plain = Section(memory=Memory.WEIGHT, address=300, values=weights(rng, 6, 4))
    parts = [runs[0], table, runs[1], plain, runs[2], *blocks, plain]
    image = build_image(config, parts, instructions=2, **REGIONS)

    async def bench(ctx):
        for _ in range(2):
            entries, error = await load(ctx, dut, image, rng, idle=idle)
            assert error is ErrorCode.NONE
            assert list(seen_lists(entries)) == list(expected_lists(parts))

    simulate(dut, bench, budget=2400)


def test_a_cycle_an_entry_and_fewer_units(simulate, rng):
    dut = shared_program_loader(PACKED)
    (part,) = packed_pieces(rng, ListPacking.RUN_LENGTH, pieces=1, entries=400)
    image = build_image(PACKED, [part], instructions=1, **REGIONS)
    assert len(part.encode()) < 2 * 400 * (12 + part.packed.code - 3) / 15

    async def bench(ctx):
        await load(ctx, dut, image, rng)

    simulate(dut, bench, budget=64 + 400 + 16)


def spoilt(word, value):
    """Change a word of the section's headers."""

    def edit(words):
        words[word] = value(int(words[word]))

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        spoilt(0, lambda word: word | 1),
        spoilt(0, lambda word: word | 4),
        spoilt(0, lambda word: word | 3 << 3),
        spoilt(0, lambda word: word & ~(3 << 3)),
        spoilt(0, lambda word: word | 1 << 6),
        spoilt(0, lambda word: word | 1 << 8),
        spoilt(1, lambda word: word & 0xFFFF),
        spoilt(1, lambda word: word + (2 << 16)),
        spoilt(1, lambda word: word - (1 << 20)),
        spoilt(1, lambda word: word | 511),
        spoilt(2, lambda word: word & ~0xFFFF),
        spoilt(2, lambda word: word | 0xFFFF),
        spoilt(2, lambda word: word & ~(0xFF << 16)),
        spoilt(2, lambda word: word | 0xF << 24),
        spoilt(2, lambda word: word | 1 << 28),
        spoilt(3, lambda word: 0),
        spoilt(3, lambda word: word + 1),
        spoilt(3, lambda word: word - 1),
        spoilt(3, lambda word: word | 1 << 16),
    ],
)
@pytest.mark.parametrize("packing", [ListPacking.RUN_LENGTH, ListPacking.BLOCKS])
def test_a_wrong_packed_section_is_refused(simulate, rng, packing, edit):
    dut = shared_program_loader(PACKED)
    (part,) = packed_pieces(rng, packing, pieces=1, entries=50)
    after = Section(memory=Memory.POINTER, values=pointers(rng, PACKED, 4, 4))
    image = build_image(PACKED, [part, after], instructions=2, **REGIONS)
    edit(image[HEADER_WORDS:])

    async def bench(ctx):
        _, error = await load(ctx, dut, image, rng)
        assert error is ErrorCode.BAD_SECTION

    simulate(dut, bench, budget=300)
