from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from jpnet_hw.activation_memory import ActivationMemory
from jpnet_spec.config import AcceleratorConfig

shared_activation_memory = cache(ActivationMemory)

CONFIG = AcceleratorConfig(lanes=4, clusters=4, contexts=4, act_depth=32)
CONFIGS = [
    CONFIG,
    replace(CONFIG, clusters=1, contexts=1),
    replace(CONFIG, clusters=2, contexts=2, act_word=16, axi_data_width=128),
    replace(CONFIG, clusters=2, lanes=8),
    replace(CONFIG, clusters=4, lanes=1, axi_data_width=32),
]
IDS = ["edge", "one", "wide_bus", "one_column", "one_lane"]


class Bench:
    """Writes images and rows at once and keeps what must be where."""

    def __init__(self, config, rng, *, row_rate):
        self.config, self.rng, self.row_rate = config, rng, row_rate
        self.dut = shared_activation_memory(config)
        self.rows_of_context = config.act_depth * config.clusters * config.act_columns
        shape = (config.contexts, self.rows_of_context, config.lanes)
        self.memory = np.zeros(shape, dtype=np.uint8)
        self.input_base, self.half = 3, config.act_depth // 2
        self.arriving, self.ready, self.rows_written = [], [], 0

    async def cycle(self, ctx):
        """Write a random row of the upper half, or none, and pass a cycle."""
        config, dut = self.config, self.dut
        writes = self.rng.random() < self.row_rate
        ctx.set(dut.row_valid, int(writes))
        if writes:
            context = int(self.rng.integers(config.contexts))
            per_word = config.clusters * config.act_columns
            row = int(self.rng.integers(self.half * per_word, self.rows_of_context))
            acts = self.rng.integers(-127, 128, config.lanes)
            self.memory[context, row] = acts.astype(np.int8).view(np.uint8)
            local, cluster = divmod(row, config.clusters)
            address, column = divmod(local, config.act_columns)
            for name, value in (
                ("context", context),
                ("banks", 1 << cluster),
                ("address", address),
                ("column", column),
            ):
                ctx.set(dut.row[name], value)
            ctx.set(dut.row.acts[cluster], acts.tolist())
            self.rows_written += 1
        for seen, pulses in ((self.arriving, dut.arriving), (self.ready, dut.image_ready)):
            if ctx.get(pulses):
                seen.append(ctx.get(pulses))
        await ctx.tick()

    async def send(self, ctx, context, rows):
        config, dut = self.config, self.dut
        ctx.set(dut.input_base, self.input_base)
        beats = -(-rows // config.beat_rows)
        data = self.rng.integers(0, 256, (beats * config.beat_rows, config.lanes), dtype=np.uint8)
        first = self.input_base * config.clusters * config.act_columns
        self.memory[context, first : first + len(data)] = data
        payload = dut.beats.payload
        for beat, raw in enumerate(data.reshape(beats, -1)):
            ctx.set(dut.beats.valid, 1)
            ctx.set(payload.context, context)
            ctx.set(payload.beat, beat)
            ctx.set(payload.last, int(beat == beats - 1))
            ctx.set(payload.data, int.from_bytes(raw.tobytes(), "little"))
            while not ctx.get(dut.beats.ready):
                await self.cycle(ctx)
            await self.cycle(ctx)
            ctx.set(dut.beats.valid, 0)
        return beats

    async def read_all(self, ctx):
        """Read everything as rows of results."""
        dut, got = self.dut, []
        ctx.set(dut.row_valid, 0)
        ctx.set(dut.result_base, 0)
        ctx.set(dut.result_read, 1)
        for context in range(self.config.contexts):
            ctx.set(dut.result_context, context)
            for step in range(self.rows_of_context + dut.RESULT_LATENCY):
                ctx.set(dut.result_row, min(step, self.rows_of_context - 1))
                if step >= dut.RESULT_LATENCY:
                    got.append(ctx.get(dut.result_data).to_bytes(self.config.lanes, "little"))
                await ctx.tick()
        return b"".join(got)


@pytest.mark.parametrize("row_rate", [0, 0.9])
@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_images_and_rows_lie_where_they_belong(simulate, rng, config, row_rate):
    bench = Bench(config, rng, row_rate=row_rate)
    per_word = config.clusters * config.act_columns

    async def run(ctx):
        order = [int(k) for k in rng.integers(0, config.contexts, 6)]
        for context in order:
            rows = int(rng.integers(1, 9 * per_word))
            ready = len(bench.ready)
            beats = await bench.send(ctx, context, rows)
            while len(bench.ready) == ready:
                await bench.cycle(ctx)
            assert bench.ready[-1] == bench.arriving[-1] == 1 << context
            assert len(bench.ready) == len(bench.arriving) == ready + 1
            written = beats * config.beat_rows
            for cluster in range(config.clusters):
                words = (written - cluster + config.clusters - 1) // per_word
                assert ctx.get(bench.dut.arrived[context][cluster]) == words
        bench.row_rate = 0
        for _ in range(3):
            await bench.cycle(ctx)
        got = np.frombuffer(await bench.read_all(ctx), np.uint8).reshape(bench.memory.shape)
        written = bench.memory != 0
        assert np.array_equal(got[written], bench.memory[written])
        assert row_rate == 0 or bench.rows_written > 0

    simulate(bench.dut, run, budget=20000)


def test_a_stream_of_rows_hardly_delays_an_image(simulate, rng):
    bench = Bench(CONFIG, rng, row_rate=1)
    cycles = 0

    async def run(ctx):
        nonlocal cycles
        before = bench.rows_written
        beats = await bench.send(ctx, 1, 88)
        cycles = bench.rows_written - before
        assert beats == 44

    simulate(bench.dut, run, budget=2000)
    assert cycles <= 44 + 12


def test_result_reads_take_the_skippers_turn(simulate):
    dut = shared_activation_memory(CONFIG)
    granted, words = [], []

    async def run(ctx):
        ctx.set(dut.row_valid, 1)
        ctx.set(dut.row.banks, 1)
        for address, fill in enumerate((0x11, 0x22)):
            ctx.set(dut.row.address, address)
            ctx.set(dut.row.acts[0], [fill] * CONFIG.lanes)
            await ctx.tick()
        ctx.set(dut.row_valid, 0)
        ctx.set(dut.asks[0].banks, 1)
        ctx.set(dut.asks[0].address, 1)
        await ctx.tick().repeat(8)
        ctx.set(dut.result_read, 1)
        for _ in range(8):
            granted.append(ctx.get(dut.granted))
            words.append(ctx.get(dut.words[0]) & 0xFF)
            await ctx.tick()
            ctx.set(dut.result_read, 0)

    simulate(dut, run, budget=100)
    assert granted == [1, 0, 1, 1, 1, 1, 1, 1]
    assert words == [0x11 if cycle == 1 + dut.LATENCY else 0x22 for cycle in range(8)]


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_carried_rows_come_from_every_bank_and_results_wait(simulate, rng, config):
    bench = Bench(config, rng, row_rate=1)
    dut, expected = bench.dut, []

    async def run(ctx):
        for _ in range(200):
            await bench.cycle(ctx)
        ctx.set(dut.row_valid, 0)
        await ctx.tick().repeat(2)
        shape = (config.contexts, -1, config.act_columns, config.clusters, config.lanes)
        memory = bench.memory.reshape(shape).astype(np.uint8).view(np.int8)
        ctx.set(dut.result_read, 1)
        for cycle in range(60 + dut.CARRIED_LATENCY):
            reads = cycle < 60 and rng.random() < 0.7
            place = None
            ctx.set(dut.carried_read, int(reads))
            assert ctx.get(dut.result_granted) == (not reads)
            if reads:
                place = [int(rng.integers(size)) for size in memory.shape[:3]]
                for name, value in zip(("context", "address", "column"), place, strict=True):
                    ctx.set(dut.carried[name], value)
            expected.append(place)
            ready = expected[cycle - dut.CARRIED_LATENCY] if cycle >= dut.CARRIED_LATENCY else None
            if ready is not None:
                rows = [[ctx.get(act) for act in row] for row in dut.carried_rows]
                wanted = memory[tuple(ready)]
                known = wanted != 0
                assert np.array_equal(np.array(rows)[known], wanted[known])
            await ctx.tick()

    simulate(dut, run, budget=600)
