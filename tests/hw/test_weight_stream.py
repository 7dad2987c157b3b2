import zlib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring

from jpnet_cosim.program_editor import ProgramEditor
from jpnet_hw.axi_reader import AxiReader
from jpnet_hw.program_loader import ProgramLoader
from jpnet_hw.read_arbiter import ReadArbiter
from jpnet_hw.weight_stream import WeightStream
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import (
    ROW_MODULUS,
    SLOTS,
    HeaderWord,
    Memory,
    Section,
    build_image,
    section_lanes,
)

CONFIG = AcceleratorConfig(
    groups=2, contexts=2, weight_depth=64, pointer_depth=32, param_depth=16, program_depth=16
)
CONFIGS = [
    CONFIG,
    replace(CONFIG, contexts=4, axi_data_width=32),
    replace(CONFIG, contexts=1, act_word=64, axi_data_width=512),
]
BASE = 0x2000


def random_lists(rng, memory, count, lanes):
    """Return weights or pointers, shape (count, lanes), that fit a field of 16 bits."""
    if memory is Memory.POINTER:
        return rng.integers(2**16, size=(count, lanes), dtype=np.uint32)
    rows = rng.integers(-128, 128, (count, lanes)) % ROW_MODULUS
    return (rows << 8 | rng.integers(256, size=(count, lanes))).astype(np.uint32)


def random_blocks(rng, config, count):
    """Return blocks of random sections for some lanes or all."""
    blocks = []
    for number in range(count):
        sections = []
        for _ in range(int(rng.integers(1, 5))):
            memory = Memory(int(rng.integers(2)))
            depth = (config.weight_depth, config.pointer_depth)[memory] // SLOTS
            first = int(rng.integers(depth))
            length = int(rng.integers(depth - first)) + 1
            wide = bool(rng.integers(2))
            together = section_lanes(memory, wide=wide)
            sections.append(
                Section(
                    memory=memory,
                    wide=wide,
                    lane=int(rng.integers(config.lanes // together)) * together,
                    cluster=None if rng.random() < 0.3 else int(rng.integers(config.clusters)),
                    group=None if rng.random() < 0.3 else int(rng.integers(config.groups)),
                    address=number % SLOTS * depth + first,
                    values=random_lists(rng, memory, length, together),
                )
            )
        blocks.append(sections)
    return blocks


def entries(sections, config=CONFIG):
    """Yield what the loader gives for sections: place and the lanes' entries."""
    for section in sections:
        width = config.entry_width if section.memory is Memory.WEIGHT else 16
        cluster = (0, 1) if section.cluster is None else (section.cluster, 0)
        group = (0, 1) if section.group is None else (section.group, 0)
        for index, values in enumerate(section.values):
            place = (int(section.memory), section.lane, *cluster, *group, section.address + index)
            yield (*place, *(int(value) % 2**width for value in values))


def program(rng, config, blocks):
    params = rng.integers(0, 2**32, (2, 3), dtype=np.uint32)
    resident = [Section(memory=Memory.PARAM, values=params)]
    fields = {"input_base": 0, "input_rows": 4, "result_base": 8, "result_rows": 2}
    fields["in_flight"] = config.contexts
    return build_image(config, resident, instructions=config.program_depth, blocks=blocks, **fields)


class Chain(wiring.Elaboratable):
    """Stream, loader, arbiter and bus, with another user of the bus before them."""

    def __init__(self, config):
        self.config = config
        self.loader, self.weights = ProgramLoader(config), WeightStream(config)
        self.reads, self.reader = ReadArbiter(config, users=3), AxiReader(config)
        self.reset = Signal()

    def elaborate(self, platform):
        m = Module()
        loader, weights, reads, reader = self.loader, self.weights, self.reads, self.reader
        for name in ("loader", "weights", "reads"):
            m.submodules[name] = ResetInserter(self.reset)(getattr(self, name))
        m.submodules.reader = reader
        wiring.connect(m, loader.transfers, reads.asks[1])
        wiring.connect(m, weights.transfers, reads.asks[2])
        wiring.connect(m, reads.transfers, reader.transfers)
        wiring.connect(m, reader.o, reads.i)
        m.d.comb += [
            reader.abort.eq(self.reset),
            loader.i.payload.eq(reader.o.payload),
            loader.i.valid.eq(reads.gives[1].valid | reads.gives[2].valid),
            reads.gives[1].ready.eq(loader.i.ready),
            reads.gives[2].ready.eq(loader.i.ready),
            loader.base.eq(BASE),
            loader.slot.eq(weights.slot),
            weights.clear.eq(loader.start),
            weights.base.eq(BASE),
            weights.opened.eq(loader.opened),
            weights.program_words.eq(loader.header.total_words),
            weights.blocks.eq(loader.header.blocks),
            weights.in_flight.eq(loader.header.in_flight),
            weights.block_words.eq(loader.block_words),
            weights.block_done.eq(loader.block_done),
        ]
        return m


shared_chain = cache(Chain)


class Bench:
    """Memory, images and contexts around the stream."""

    def __init__(self, config, image, rng, *, latency=5, stall=0.0, faulty=None):
        self.config, self.image, self.rng = config, image, rng
        self.latency, self.stall, self.faulty = latency, stall, faulty
        self.dut = shared_chain(config)
        self.entries, self.error, self.bus_error = [], ErrorCode.NONE, False
        self.bursts, self.beats, self.pending = [], 0, 0

    async def memory(self, ctx):
        """Answer reads with the image's words."""
        reader, size = self.dut.reader, self.config.beat_bytes
        data = self.image.astype("<u4", copy=False).view(np.uint8)
        pending, cycle, offered = [], 0, False
        while True:
            ctx.set(reader.ar_ready, int(self.rng.random() >= self.stall))
            offered = offered or (
                bool(pending) and pending[0][1] <= cycle and self.rng.random() >= self.stall
            )
            ctx.set(reader.r_valid, int(offered))
            if offered:
                place = pending[0][0]
                word = int.from_bytes(data[place : place + size].tobytes(), "little")
                ctx.set(reader.r_data, word)
                ctx.set(reader.r_resp, 2 if place == self.faulty else 0)
            self.pending = len(pending)
            asked = ctx.get(reader.ar_valid) and ctx.get(reader.ar_ready)
            request = (ctx.get(reader.ar_address) - BASE, ctx.get(reader.ar_length) + 1)
            taken = offered and ctx.get(reader.r_ready)
            await ctx.tick()
            cycle += 1
            if taken:
                pending.pop(0)
                offered = False
                self.beats += 1
            if asked:
                place, beats = request
                assert 0 <= place < place + beats * size <= len(data), "read outside the program"
                self.bursts.append(request)
                pending += [(place + size * beat, cycle + self.latency) for beat in range(beats)]

    async def watch(self, ctx):
        """Record entries and errors."""
        loader = self.dut.loader
        names = ("memory", "lane", "cluster", "all_clusters", "group", "all_groups", "address")
        while True:
            if ctx.get(loader.load_valid) and ctx.get(loader.load.memory) < Memory.PARAM:
                place = [ctx.get(getattr(loader.load, name)) for name in names]
                place[2] *= not place[3]
                lists = [ctx.get(item) for item in loader.load.lists]
                if ctx.get(loader.load.wide):
                    lists = lists[:2]
                mask = 0xFFFF if place[0] == Memory.POINTER else -1
                self.entries.append((*place, *(value & mask for value in lists)))
            if ctx.get(loader.error_valid):
                self.error = ErrorCode(ctx.get(loader.error))
            self.bus_error |= bool(ctx.get(self.dut.reader.error))
            await ctx.tick()

    async def load(self, ctx):
        """Load the program; return once the slots are full or something was wrong."""
        ctx.set(self.dut.loader.start, 1)
        await ctx.tick()
        ctx.set(self.dut.loader.start, 0)
        while ctx.get(self.dut.loader.busy) or ctx.get(self.dut.weights.busy):
            await ctx.tick()
            if self.error or self.bus_error:
                return

    async def run(self, ctx, images, blocks):
        """Let each context use each block for a random time, image after image."""
        config, weights = self.config, self.dut.weights
        ctx.set(weights.count, images)
        ctx.set(weights.start, 1)
        await ctx.tick()
        ctx.set(weights.start, 0)
        await ctx.tick().repeat(2)
        todo = [len(range(c, images, config.contexts)) * blocks for c in range(config.contexts)]
        delays = [5] * config.contexts
        quiet = 0
        while quiet < 5:  # a result takes longer to reach memory
            quiet = 0 if any(todo) or ctx.get(weights.busy) else quiet + 1
            finished = 0
            for context in range(config.contexts):
                delays[context] = max(0, delays[context] - 1)
                ready = ctx.get(weights.ready) >> context & 1
                if todo[context] and not delays[context] and ready:
                    finished |= 1 << context
                    todo[context] -= 1
                    delays[context] = int(self.rng.integers(5, 60))
            ctx.set(weights.finished, finished)
            await ctx.tick()
            ctx.set(weights.finished, 0)
            if self.error or self.bus_error:
                return


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("count", [2, 6])
@pytest.mark.parametrize("stall", [0, 0.4])
def test_blocks_are_loaded_in_turn_for_every_group(simulate, rng, config, count, stall):
    blocks = random_blocks(rng, config, count)
    bench = Bench(config, program(rng, config, blocks), rng, latency=30, stall=stall)
    contents = [list(entries(block, config)) for block in blocks]

    async def play(ctx):
        await bench.load(ctx)
        loaded = SLOTS
        for images in (1, config.contexts + 1, 2 * config.contexts):
            await bench.run(ctx, images, count)
            loaded += -(-images // config.contexts) * count
        expected = [entry for block in range(loaded) for entry in contents[block % count]]
        assert bench.error is ErrorCode.NONE
        assert bench.entries == expected

    simulate(bench.dut, play, bench.memory, bench.watch, budget=40_000)


def test_latency_does_not_halve_the_bandwidth(simulate, rng):
    config = replace(CONFIG, weight_depth=512)
    values = random_lists(rng, Memory.WEIGHT, 256, 4)
    blocks = [[Section(memory=Memory.WEIGHT, address=256 * b, values=values)] for b in range(2)]
    bench = Bench(config, program(rng, config, blocks), rng, latency=30)

    async def play(ctx):
        await bench.load(ctx)
        assert len(bench.entries) == 512

    simulate(bench.dut, play, bench.memory, bench.watch, budget=512 + 4 * 60)


def change(word, value):
    """Change a word of the second block: 0 and 1 are its header, 2 and 3 its first section's."""

    def edit(editor):
        place = editor.blocks[1].offset + word
        editor.words[place] = value(int(editor.words[place]))

    return edit


BAD_BLOCKS = {
    "crc": (ErrorCode.BAD_CRC, change(4, lambda word: word ^ 1), False),
    "header_crc": (ErrorCode.BAD_CRC, change(0, lambda word: word + 16), False),
    "odd_length": (ErrorCode.BAD_SECTION, change(0, lambda word: word + 1), True),
    "no_length": (ErrorCode.BAD_SECTION, change(0, lambda word: 0), True),
    "sections": (ErrorCode.BAD_SECTION, change(1, lambda word: word + 9), True),
    "no_sections": (ErrorCode.BAD_CRC, change(1, lambda word: 0), True),
    "memory": (ErrorCode.BAD_SECTION, change(2, lambda word: word | 2), True),
    "lane": (ErrorCode.BAD_SECTION, change(2, lambda word: word | 0xFC00), True),
    "part_of_a_set": (ErrorCode.BAD_SECTION, change(2, lambda word: word | 0x200), True),
    "no_entries": (ErrorCode.BAD_SECTION, change(3, lambda word: word & 0xFFFF), True),
    "cluster": (ErrorCode.BAD_SECTION, change(2, lambda word: word | 0x7F_0000), True),
    "other_slot": (ErrorCode.BAD_SECTION, change(3, lambda word: word - 1), True),
    "past_slot": (ErrorCode.BAD_SECTION, change(3, lambda word: word + (1 << 16)), True),
}


@pytest.mark.parametrize("case", list(BAD_BLOCKS))
def test_a_wrong_block_is_refused_and_the_next_program_loads(simulate, rng, case):
    code, edit, sealed = BAD_BLOCKS[case]
    values = random_lists(rng, Memory.WEIGHT, 32, 4)
    blocks = [[Section(memory=Memory.WEIGHT, address=32 * b, values=values)] for b in range(2)]
    good = program(rng, CONFIG, blocks)
    editor = ProgramEditor(good)
    edit(editor)
    if sealed:
        last = editor.blocks[1].end
        editor.seal()
        assert last == editor.blocks[1].end
    bench = Bench(CONFIG, editor.words, rng)

    async def play(ctx):
        await bench.load(ctx)
        assert bench.error is code
        await stop(ctx, bench)
        bench.image[:] = good
        await bench.load(ctx)
        assert bench.error is ErrorCode.NONE
        assert bench.entries == [entry for block in blocks for entry in entries(block)]

    simulate(bench.dut, play, bench.memory, bench.watch, budget=3000)


async def stop(ctx, bench):
    """Reset everything but the bus, wait for that, and forget what was seen."""
    ctx.set(bench.dut.reset, 1)
    await ctx.tick().repeat(4)
    while bench.pending or not ctx.get(bench.dut.reader.idle):
        await ctx.tick()
    ctx.set(bench.dut.reset, 0)
    bench.entries.clear()
    bench.error, bench.bus_error, bench.faulty = ErrorCode.NONE, False, None
    await ctx.tick()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (HeaderWord.BLOCKS, 3),
        (HeaderWord.BLOCKS, 18),
        (HeaderWord.BLOCK_WORDS, 0),
        (HeaderWord.BLOCK_WORDS, 33),
    ],
)
def test_a_wrong_stream_in_the_header_is_refused(simulate, rng, word, value):
    editor = ProgramEditor(program(rng, CONFIG, random_blocks(rng, CONFIG, 4)))
    editor.words[word] = value
    bench = Bench(CONFIG, editor.words, rng)
    seal_header(bench.image)

    async def play(ctx):
        await bench.load(ctx)
        assert bench.error is ErrorCode.BAD_SECTION

    simulate(bench.dut, play, bench.memory, bench.watch, budget=500)


def seal_header(image):
    image[HeaderWord.CHECKSUM] = zlib.crc32(image[: HeaderWord.CHECKSUM].astype("<u4").tobytes())


@pytest.mark.parametrize("when", ["bus_error", "reset"])
def test_a_stop_in_the_middle_of_a_block_leaves_a_stream_that_works(simulate, rng, when):
    values = random_lists(rng, Memory.WEIGHT, 32, 4)
    blocks = [
        [Section(memory=Memory.WEIGHT, address=32 * (b % 2), values=values)] for b in range(4)
    ]
    bench = Bench(CONFIG, program(rng, CONFIG, blocks), rng, latency=20)
    third = 4 * ProgramEditor(bench.image).blocks[2].offset
    contents = [entry for block in blocks for entry in entries(block)]

    async def resets(ctx):
        while when != "reset" or len(bench.entries) < 64 + 13:
            await ctx.tick()
        bench.bus_error = True

    async def play(ctx):
        await bench.load(ctx)
        bench.faulty = third + 144 if when == "bus_error" else None
        await bench.run(ctx, 5, 4)
        assert bench.bus_error
        assert bench.entries == contents[: len(bench.entries)]
        assert 64 < len(bench.entries) < 96
        await stop(ctx, bench)
        await bench.load(ctx)
        await bench.run(ctx, 1, 4)
        assert bench.entries == [*contents, *contents[:64]]

    simulate(bench.dut, play, bench.memory, bench.watch, resets, budget=4000)
