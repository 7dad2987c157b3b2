from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring

from jpnet_hw.activation_memory import ActivationMemory
from jpnet_hw.context import ImageContext
from jpnet_hw.drain import Drain
from jpnet_hw.skipper import ZeroSkipper
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import Memory
from jpnet_spec.instruction import Instruction, LayerFlag, Opcode

CONFIG = AcceleratorConfig(
    groups=4, clusters=1, contexts=2, act_depth=64, acc_depth=64, program_depth=8
)
RESULT = LayerFlag.RESULT
FREE = LayerFlag.FREE_IMAGE
NEXT = LayerFlag.NEXT_BLOCK


def instruction(**fields):
    defaults = {
        "opcode": Opcode.FULLY_CONNECTED,
        "flags": LayerFlag(0),
        "source_slot": 0,
        "target_slot": 1,
        "threshold_mode": 1,
        "source_base": 0,
        "source_rows": 23,
        "target_base": 24,
        "rows": 7,
        "pointer_base": 0,
        "param_base": 0,
        "winners": 5,
        "shift": 10,
        "static_threshold": 0,
        "sample_stride": 1,
    }
    whole = LayerFlag.FIRST_TILE | LayerFlag.LAST_TILE
    fields["flags"] = LayerFlag(0) | fields.get("flags", 0) | whole
    return Instruction(**{**defaults, **fields})


def drain_field(item, name):
    """Return what an instruction means for the drain."""
    derived = {
        "last_row": item.rows - 1,
        "convolution": item.opcode is Opcode.CONVOLUTION,
        "pooled": item.pool_stride == 2,
        "last_tap": max(0, item.pool_window - 1),
        "first_tile": bool(item.flags & LayerFlag.FIRST_TILE),
        "last_tile": bool(item.flags & LayerFlag.LAST_TILE),
        "carried": bool(item.flags & LayerFlag.CARRIED),
        "summed": bool(item.flags & LayerFlag.SUMMED),
        "second": bool(item.flags & LayerFlag.SECOND),
    }
    return derived[name] if name in derived else getattr(item, name)


PROGRAM = [
    instruction(flags=FREE, pointer_base=3),
    instruction(
        source_base=24, source_slot=1, source_rows=7, target_base=32, target_slot=2, rows=8
    ),
    instruction(
        source_base=32, source_slot=2, source_rows=8, target_base=0, target_slot=0, flags=RESULT
    ),
]


class Chain(wiring.Elaboratable):
    """A context with the activation memory and the skippers, all but it idle."""

    RESULT_LATENCY = ActivationMemory.RESULT_LATENCY

    def __init__(self, config, number):
        self.config, self.number = config, number
        self.context = ImageContext(config)
        self.reset = Signal()
        self.block_ready = Signal(init=1)
        self.memory = memory = ActivationMemory(config)
        self.skippers = [ZeroSkipper(config) for _ in range(config.clusters)]
        self.tokens = [skipper.o for skipper in self.skippers]
        self.beats, self.row, self.row_valid = memory.beats, memory.row, memory.row_valid
        self.input_base, self.result_base = memory.input_base, memory.result_base
        self.result_row, self.result_data = memory.result_row, memory.result_data

    def __getattr__(self, name):
        return getattr(self.context, name)

    def elaborate(self, platform):
        m = Module()
        context, memory = self.context, self.memory
        m.submodules.context = ResetInserter(self.reset)(context)
        m.submodules.memory = ResetInserter(self.reset)(memory)
        m.d.comb += [
            memory.result_read.eq(context.result_valid),
            memory.result_context.eq(self.number),
            context.block_ready.eq(self.block_ready),
            context.arriving.eq(memory.arriving[self.number]),
            context.image_ready.eq(memory.image_ready[self.number]),
        ]
        for cluster, skipper in enumerate(self.skippers):
            m.submodules[f"skipper_{cluster}"] = ResetInserter(self.reset)(skipper)
            m.d.comb += [
                skipper.cluster.eq(cluster),
                context.arrived[cluster].eq(memory.arrived[self.number][cluster]),
                context.reading[cluster].eq(skipper.reading[self.number]),
                context.waiting[cluster].eq(skipper.waiting[self.number]),
                skipper.begin[self.number].eq(context.begin),
                skipper.jobs[self.number].eq(context.skip_jobs[cluster]),
                skipper.oldest.eq(1),
                memory.asks[cluster].eq(skipper.ask),
                skipper.granted.eq(memory.granted[cluster]),
                skipper.word.eq(memory.words[cluster]),
            ]
        return m


shared_chain = cache(Chain)


@dataclass(kw_only=True)
class Times:
    """Cycles in which things happened."""

    cluster_done: list
    request: list
    done: list
    tokens: list


class Bench:
    """Loader, image and result transfers, clusters and drain around a context."""

    def __init__(self, config, program, rng, *, images=1, stalls=False, number=0):
        self.config, self.program, self.rng = config, program, rng
        self.images, self.stalls = images, stalls
        self.dut = shared_chain(config, number)
        self.number = number
        rows = config.act_depth * config.clusters * config.act_columns
        self.memory = np.zeros((rows, config.lanes), np.int8)
        self.input_base, self.input_rows = program[0].source_base, program[0].source_rows
        self.cycle = 0
        self.times = Times(cluster_done=[], request=[], done=[], tokens=[])
        self.errors = []
        self.coming_thetas = {}
        self.levels = {"computing": 0, "draining": 0, "topn": 0}
        self.counts = np.zeros(3, dtype=int)
        self.expected_counts = np.zeros(3, dtype=int)
        self.free_seen = []

    def rows(self, base, count):
        """Return a tensor's rows in order."""
        first = base * self.config.clusters * self.config.act_columns
        return self.memory[first : first + count]

    async def step(self, ctx):
        for index, name in enumerate(("read_count", "zero_count", "below_count")):
            self.counts[index] += sum(ctx.get(getattr(part, name)) for part in self.dut.skippers)
        levels = [name for name in self.levels if ctx.get(getattr(self.dut, name))]
        assert len(levels) <= 1
        for name in levels:
            self.levels[name] += 1
        theta, layer = self.coming_thetas.pop(self.cycle, (None, None))
        ctx.set(self.dut.drain_theta, int(self.rng.integers(0, 128)) if theta is None else theta)
        assert ctx.get(self.dut.theta_valid) == (theta is not None)
        if theta is not None:
            assert ctx.get(self.dut.theta) == theta
            assert ctx.get(self.dut.theta_layer) == layer
        if ctx.get(self.dut.error_valid):
            self.errors.append(ctx.get(self.dut.error))
        self.cycle += 1
        await ctx.tick()

    async def load(self, ctx, words=None):
        dut = self.dut
        if words is None:
            words = [word for item in self.program for word in item.encode()]
        ctx.set(dut.load_valid, 1)
        for memory in (Memory.INSTRUCTION, Memory.WEIGHT):
            ctx.set(dut.load.memory, int(memory))
            for address, word in enumerate(words):
                ctx.set(dut.load.address, address)
                ctx.set(dut.load.data, word if memory is Memory.INSTRUCTION else 0)
                await ctx.tick()
        ctx.set(dut.load_valid, 0)
        ctx.set(dut.instructions, len(self.program))
        ctx.set(dut.act_limit, self.config.act_depth)
        ctx.set(dut.acc_limit, self.config.acc_depth)
        ctx.set(dut.blocks, sum(bool(item.flags & NEXT) for item in self.program))
        ctx.set(dut.input_base, self.input_base)
        ctx.set(dut.result_base, self.program[-1].target_base)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)

    async def send_image(self, ctx):
        """Write the next image, beat by beat."""
        config, dut = self.config, self.dut
        while not ctx.get(dut.input_free):
            await self.step(ctx)
        beats = -(-self.input_rows // config.beat_rows)
        shape = (beats * config.beat_rows, config.lanes)
        image = (self.rng.integers(-127, 128, shape) * (self.rng.random(shape) < 0.3)).astype(
            np.int8
        )
        raw = image.tobytes()
        for beat in range(beats):
            part = raw[beat * config.beat_bytes : (beat + 1) * config.beat_bytes]
            ctx.set(dut.beats.payload.context, self.number)
            ctx.set(dut.beats.payload.beat, beat)
            ctx.set(dut.beats.payload.last, int(beat == beats - 1))
            ctx.set(dut.beats.payload.data, int.from_bytes(part, "little"))
            ctx.set(dut.beats.valid, 1)
            while not ctx.get(dut.beats.ready):
                await self.step(ctx)
            await self.step(ctx)
            ctx.set(dut.beats.valid, 0)
        while not ctx.get(dut.memory.image_ready):
            await self.step(ctx)
        await self.step(ctx)
        assert not ctx.get(dut.input_free)
        self.rows(self.input_base, len(image))[:] = image

    def expected_tokens(self, item, thresholds):
        """Return each cluster's survivors as (act, pointer, owner)."""
        config = self.config
        rows = self.rows(item.source_base, item.source_rows)
        theta, divided = thresholds[item.source_slot], bool(item.flags & LayerFlag.DIVIDED)
        dense = bool(item.flags & LayerFlag.DENSE)
        streams = []
        for cluster in range(config.clusters):
            acts = rows[cluster :: config.clusters].reshape(-1).astype(int)
            keep = (np.abs(acts) > theta) | dense
            local = np.arange(len(acts))
            pointer = (item.pointer_base + (local // config.groups if divided else local)) % (
                config.pointer_depth
            )
            streams.append(
                [
                    (int(acts[i]), int(pointer[i]), i % config.groups if divided else None)
                    for i in local[keep]
                ]
            )
            if not dense:
                below = (~keep & (acts != 0)).sum()
                self.expected_counts += np.array([len(acts), (acts == 0).sum(), below])
            else:
                self.expected_counts += np.array([len(acts), 0, 0])
        return streams

    async def compute(self, ctx, item, thresholds):
        """Take the tokens and report the clusters done, each in its own time."""
        dut, config = self.dut, self.config
        got = [[] for _ in range(config.clusters)]
        ended, seen = [False] * config.clusters, False
        while not all(ended):
            for cluster, tokens in enumerate(dut.tokens):
                ready = not (self.stalls and self.rng.random() < 0.5)
                ctx.set(tokens.ready, ready)
                if ready and ctx.get(tokens.valid):
                    assert not ended[cluster]
                    token = tokens.payload
                    ended[cluster] = bool(ctx.get(token.last))
                    if not seen:
                        self.times.tokens.append(self.cycle)
                        seen = True
                    if not ended[cluster]:
                        owner = ctx.get(token.owner) if ctx.get(token.divided) else None
                        got[cluster].append((ctx.get(token.act), ctx.get(token.pointer), owner))
            await self.step(ctx)
        for tokens in dut.tokens:
            ctx.set(tokens.ready, 0)
        assert got == self.expected_tokens(item, thresholds)
        for cluster in self.rng.permutation(config.clusters):
            assert not ctx.get(dut.request)
            for _ in range(int(self.rng.integers(3, 6))):
                await self.step(ctx)
            ctx.set(dut.cluster_done[int(cluster)], 1)
        self.times.cluster_done.append(self.cycle)

    async def drain(self, ctx, item, thresholds):
        """Write random rows and give a threshold."""
        dut, config = self.dut, self.config
        while not ctx.get(dut.request):
            await self.step(ctx)
        self.times.request.append(self.cycle)
        for name in dut.job.shape().members:
            assert ctx.get(dut.job[name]) == int(drain_field(item, name))
        shape = (item.rows, config.lanes)
        acts = (self.rng.integers(-127, 128, shape) * (self.rng.random(shape) < 0.6)).astype(
            np.int8
        )
        arms = 0
        for row in range(-10, item.rows):
            if row >= 0:
                local, cluster = divmod(row, config.clusters)
                address, column = divmod(local, config.act_columns)
                ctx.set(dut.row.context, self.number)
                ctx.set(dut.row.banks, 1 << cluster)
                ctx.set(dut.row.address, item.target_base + address)
                ctx.set(dut.row.column, column)
                ctx.set(dut.row.acts[cluster], acts[row].tolist())
                ctx.set(dut.row_valid, 1)
            arms += ctx.get(dut.arm)
            await self.step(ctx)
            if arms:
                ctx.set(dut.cluster_done, 0)
        ctx.set(dut.row_valid, 0)
        assert arms == 1
        self.rows(item.target_base, len(acts))[:] = acts
        theta = int(self.rng.integers(0, 100))
        if item.threshold_mode == 1:
            ctx.set(dut.drain_written, 1)
            await self.step(ctx)
            await self.step(ctx)
        assert ctx.get(dut.request)
        ctx.set(dut.drain_done, 1)
        self.coming_thetas[self.cycle + Drain.THETA_CYCLES] = (theta, self.program.index(item))
        assert not ctx.get(dut.request)
        assert ctx.get(dut.layer) == self.program.index(item)
        self.times.done.append(self.cycle)
        await self.step(ctx)
        ctx.set(dut.drain_done, 0)
        ctx.set(dut.drain_written, 0)
        assert not ctx.get(dut.request)
        if item.target_slot:
            thresholds[item.target_slot] = theta

    async def read_result(self, ctx):
        """Read the result's rows, one per cycle."""
        dut, item = self.dut, self.program[-1]
        assert ctx.get(dut.result_valid)
        count = item.rows
        got = []
        for cycle in range(count + dut.RESULT_LATENCY):
            ctx.set(dut.result_row, min(cycle, count - 1))
            if cycle >= dut.RESULT_LATENCY:
                got.append(ctx.get(dut.result_data).to_bytes(self.config.lanes, "little"))
            await self.step(ctx)
        assert b"".join(got) == self.rows(item.target_base, count).tobytes()
        ctx.set(dut.result_done, 1)
        await self.step(ctx)
        ctx.set(dut.result_done, 0)
        assert not ctx.get(dut.result_valid)

    async def run(self, ctx):
        await self.load(ctx)
        for _ in range(self.images):
            await self.send_image(ctx)
            thresholds = [0] * 16
            for item in self.program:
                await self.compute(ctx, item, thresholds)
                free = bool(ctx.get(self.dut.input_free))
                self.free_seen.append(free)
                await self.drain(ctx, item, thresholds)
            await self.read_result(ctx)
        assert ctx.get(self.dut.input_free)
        await self.step(ctx)
        assert (self.counts == self.expected_counts).all()
        assert self.errors == []


CONFIGS = [
    CONFIG,
    replace(CONFIG, lanes=2, groups=2, act_word=8),
    replace(CONFIG, clusters=4, act_word=16, axi_data_width=128),
    replace(CONFIG, lanes=1, groups=1, contexts=1, act_word=4, axi_data_width=32),
    replace(CONFIG, lanes=8, act_word=8),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["edge", "tiny", "wide", "one", "one_column"])
@pytest.mark.parametrize("stalls", [False, True])
def test_images_pass_through_all_layers(config, stalls, rng, simulate):
    bench = Bench(config, PROGRAM, rng, images=3, stalls=stalls, number=config.contexts - 1)
    simulate(bench.dut, bench.run, budget=4000)
    assert bench.free_seen == [True] * 9


def test_divided_and_dense_instructions(rng, simulate):
    program = [
        instruction(flags=LayerFlag.DIVIDED | LayerFlag.DENSE, pointer_base=100),
        instruction(source_base=24, source_rows=7, source_slot=1, flags=LayerFlag.DIVIDED),
        instruction(source_base=24, source_rows=7, source_slot=0, flags=RESULT, winners=9),
    ]
    bench = Bench(CONFIG, program, rng, images=2)
    simulate(bench.dut, bench.run, budget=3000)


def test_image_without_free_flag_is_freed_with_the_result(rng, simulate):
    program = [instruction(), instruction(source_base=24, source_rows=7, flags=RESULT)]
    bench = Bench(CONFIG, program, rng, images=3)
    simulate(bench.dut, bench.run, budget=3000)
    assert bench.free_seen == [False] * 6


def test_tensor_without_rows_still_ends(rng, simulate):
    program = [
        instruction(),
        instruction(source_rows=0, target_base=40),
        instruction(source_base=40, source_rows=1, flags=RESULT, winners=9),
    ]
    bench = Bench(replace(CONFIG, clusters=2), program, rng, images=2)
    simulate(bench.dut, bench.run, budget=3000)


def test_transitions_cost_one_cycle(rng, simulate):
    bench = Bench(CONFIG, PROGRAM, rng)
    simulate(bench.dut, bench.run, budget=2000)
    assert bench.times.request == bench.times.cluster_done
    latency = ZeroSkipper.LATENCY
    waits = [
        token - done for done, token in zip(bench.times.done, bench.times.tokens[1:], strict=False)
    ]
    # A first word without a survivor adds a cycle.
    assert all(latency <= wait <= latency + 1 for wait in waits), waits
    assert bench.levels["topn"] == 3 * 3
    # Ten cycles before the first row; the first of them, the request's, still counts as computing.
    assert bench.levels["draining"] == sum(item.rows + 8 for item in PROGRAM)


def test_instructions_wait_for_their_block(rng, simulate):
    program = [
        replace(PROGRAM[0], flags=PROGRAM[0].flags | NEXT),
        PROGRAM[1],
        replace(PROGRAM[2], flags=PROGRAM[2].flags | NEXT),
    ]
    bench = Bench(CONFIG, program, rng, images=2)
    dut, begins, ends = bench.dut, [], []

    async def stream(ctx):
        """Bring the next block 70 cycles after each end."""
        cycle = 0
        while True:
            if ctx.get(dut.begin):
                begins.append(cycle)
                assert ctx.get(dut.block_ready)
            if ctx.get(dut.block_done):
                ends.append(cycle)
            await ctx.tick()
            cycle += 1
            ctx.set(
                dut.block_ready, int(not ends or cycle not in range(ends[-1] + 1, ends[-1] + 71))
            )

    simulate(dut, bench.run, stream, budget=4000)
    assert len(ends) == 4
    assert len(begins) == 6
    waited = [begin - end for begin in begins for end in ends if 0 < begin - end < 120]
    assert min(waited) == 71
    assert bench.levels["draining"] == 2 * sum(item.rows + 8 for item in program)


def test_rows_of_the_other_context_are_not_written(rng, simulate):
    bench = Bench(CONFIG, PROGRAM, rng, number=1)
    dut = bench.dut

    async def run(ctx):
        await bench.load(ctx)
        ctx.set(dut.row.context, 0)
        ctx.set(dut.row.banks, 1)
        ctx.set(dut.row.acts[0], [1, 2, 3, 4])
        await bench.send_image(ctx)
        ctx.set(dut.row_valid, 1)
        await bench.step(ctx)
        await bench.step(ctx)
        ctx.set(dut.row_valid, 0)
        await bench.compute(ctx, PROGRAM[0], [0] * 16)

    simulate(dut, run, budget=500)


def test_next_image_arrives_while_layers_run(rng, simulate):
    program = [*PROGRAM[:-1], replace(PROGRAM[-1], target_base=48)]
    bench = Bench(CONFIG, program, rng)
    dut = bench.dut

    async def run(ctx):
        await bench.load(ctx)
        await bench.send_image(ctx)
        for image in range(3):
            thresholds = [0] * 16
            for item in program:
                await bench.compute(ctx, item, thresholds)
                await bench.drain(ctx, item, thresholds)
                if item is program[0] and image < 2:
                    await bench.send_image(ctx)
                assert ctx.get(dut.input_free) == (image == 2)
            await bench.read_result(ctx)
        assert (bench.counts == bench.expected_counts).all()

    simulate(dut, run, budget=3000)


def test_reset_in_mid_run_then_a_fresh_run_is_right(rng, simulate):
    bench = Bench(CONFIG, PROGRAM, rng, images=2)
    dut = bench.dut

    async def run(ctx):
        await bench.load(ctx)
        await bench.send_image(ctx)
        ctx.set(dut.tokens[0].ready, 1)
        await ctx.tick().repeat(14)
        assert ctx.get(dut.computing)
        ctx.set(dut.reset, 1)
        await ctx.tick()
        ctx.set(dut.reset, 0)
        ctx.set(dut.tokens[0].ready, 0)
        for _ in range(40):
            assert ctx.get(dut.input_free)
            assert not ctx.get(dut.computing)
            assert not any(ctx.get(skipper.busy) for skipper in dut.skippers)
            await ctx.tick()
        bench.counts[:] = 0
        await bench.run(ctx)

    simulate(dut, run, budget=3000)


def test_wrong_instruction_stops_the_context(rng, simulate):
    program = [instruction(), instruction(shift=50, flags=RESULT)]
    bench = Bench(CONFIG, program, rng)
    dut = bench.dut

    async def run(ctx):
        await bench.load(ctx)
        await bench.send_image(ctx)
        await bench.compute(ctx, program[0], [0] * 16)
        await bench.drain(ctx, program[0], [0] * 16)
        for _ in range(60):
            assert not ctx.get(dut.computing)
            assert not ctx.get(dut.request)
            await bench.step(ctx)
        assert bench.errors == [ErrorCode.BAD_FIELD]

    simulate(dut, run, budget=600)


CONVOLUTION = {
    "opcode": Opcode.CONVOLUTION,
    "flags": LayerFlag.MAP,
    "source_rows": 0,
    "source_height": 6,
    "source_row_words": 3,
    "source_words": 6,
    "source_pixel_words": 1,
    "pool_window": 1,
    "pool_stride": 1,
    "output_height": 6,
    "output_width": 9,
    "kernel_height": 1,
    "run_lists": 2,
    "channel_lists": 2,
    "blocks": 2,
}
FLAT = CONVOLUTION | {"opcode": Opcode.FULLY_CONNECTED}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"source_rows": 21}, {"tail": 4, "pixel_words": 3, "run_lists": 1, "channel_lists": 1}),
        (CONVOLUTION | {"source_width": 3, "source_tail": 1}, {"tail": 4, "run_lists": 2}),
        (
            CONVOLUTION | {"source_width": 9, "source_packing": 2},
            {"packing": 2, "last_column": 8, "blank": 0},
        ),
        (
            CONVOLUTION | {"source_width": 5, "source_packing": 1, "source_tail": 3},
            {"packing": 1, "pixel_words": 1, "blank": 0b10001000},
        ),
        (
            FLAT | {"source_width": 18, "source_packing": 3},
            {"tail": 2, "pixel_words": 3, "run_lists": 1, "channel_lists": 1},
        ),
        (
            FLAT | {"source_width": 5, "source_packing": 1, "source_tail": 2},
            {"tail": 4, "pixel_words": 3, "blank": 0b11001100, "last_column": 0},
        ),
        (FLAT | {"source_width": 3, "source_tail": 1}, {"tail": 4, "pixel_words": 1}),
    ],
)
def test_skippers_are_told_which_slots_belong_to_the_tensor(rng, simulate, fields, expected):
    config = replace(CONFIG, clusters=4)
    bench = Bench(config, [instruction(**fields | {"flags": fields.get("flags", 0) | RESULT})], rng)
    dut = bench.dut
    defaults = {"packing": 0, "blank": 0}

    async def run(ctx):
        await bench.load(ctx)
        await ctx.tick().repeat(40)
        job = dut.context.skip_jobs[1]
        for name, value in (defaults | expected).items():
            assert ctx.get(job[name]) == value, name
        assert [ctx.get(job.words) for job in dut.context.skip_jobs] == (
            [6, 6, 3, 3] if "source_words" in fields else [3] * 4
        )

    simulate(dut, run, budget=400)
