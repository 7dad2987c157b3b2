"""Tiles of convolutions through the drain."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from jpnet_hw.drain import Drain
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory
from jpnet_spec.numbers import requantise
from jpnet_spec.topn import ThresholdMode

CONFIG = AcceleratorConfig(
    lanes=2, groups=1, clusters=4, contexts=2, acc_depth=256, param_depth=16, act_depth=256
)
READ_LATENCY = 4
SHIFT = 12


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A layer's output and how it is cut into tiles."""

    height: int
    width: int
    rows: int
    pooled: int
    tiles: tuple[tuple[int, int], ...]
    ceil: int = 0

    @property
    def window(self):
        return 1 + self.pooled

    @property
    def stored(self):
        rounding = self.window - 1 if self.ceil else 0
        return tuple((extent + rounding) // self.window for extent in (self.height, self.width))


class Layer:
    """Random sums of one layer, its parameters and all that its drain must give."""

    def __init__(self, bench, shape, mode):
        config, rng = bench.config, bench.rng
        self.shape, self.mode = shape, mode
        self.param_base = int(rng.integers(0, config.param_depth - shape.rows + 1))
        self.first_column = int(rng.integers(0, config.act_columns))
        self.pixel_words = -(-(shape.rows + self.first_column) // config.act_columns)
        self.stride = int(rng.integers(2, 9))
        size = (shape.height, shape.width, shape.rows, config.groups, config.lanes)
        self.sums = rng.integers(-(2**14), 2**14, size)
        part = slice(self.param_base, self.param_base + shape.rows)
        total = self.sums.sum(axis=3) + bench.bias[part]
        scales = [scale[part] for scale in bench.scales]
        self.acts = requantise(total, *scales, SHIFT + 12)
        position = np.arange(shape.height * shape.width).reshape(shape.height, shape.width, 1, 1)
        counted = np.ones(self.acts.shape, dtype=np.bool_)
        if mode is ThresholdMode.SAMPLED:
            counted = (position + bench.phase[part] % self.stride) % self.stride == 0
        magnitudes = np.abs(self.acts.astype(int))[counted]
        self.winners = int(rng.integers(0, counted.sum() + 2))
        self.theta = next(t for t in range(128) if (magnitudes > t).sum() <= self.winners)

    def fields(self, bench, tile, base):
        """Return the job of a tile."""
        shape, config = self.shape, bench.config
        first, blocks = shape.tiles[tile]
        lines = config.clusters * shape.window
        return {
            "convolution": 1,
            "pooled": shape.pooled,
            "first_tile": int(tile == 0),
            "last_tile": int(tile == len(shape.tiles) - 1),
            "last_row": shape.rows - 1,
            "target_base": base,
            "param_base": self.param_base,
            "shift": SHIFT + 12,
            "winners": self.winners,
            "threshold_mode": int(self.mode),
            "static_threshold": 7,
            "output_height": shape.height,
            "output_width": shape.width,
            "stored_height": shape.stored[0],
            "stored_width": shape.stored[1],
            "first_block": first,
            "blocks": blocks,
            "first_column": self.first_column,
            "line_rows": shape.width * shape.rows,
            "target_pixel_words": self.pixel_words,
            "target_row_words": self.pixel_words * shape.stored[1],
            "sample_stride": self.stride,
            "sample_start": first * lines * shape.width % self.stride,
            "sample_cluster": shape.window * shape.width % self.stride,
            "sample_block": lines * shape.width % self.stride,
            "sample_line": shape.width % self.stride,
        }

    def line(self, config, tile, row):
        """Return the output row of each cluster and the rest of an accumulator row's place."""
        shape = self.shape
        line, inner = divmod(row, shape.width * shape.rows)
        block, lower = divmod(line, shape.window)
        block += shape.tiles[tile][0]
        outputs = [
            (block * config.clusters + cluster) * shape.window + lower
            for cluster in range(config.clusters)
        ]
        return outputs, *divmod(inner, shape.rows)

    def rows(self, config, tile, base):
        """Return (banks, address, column, rows by bank) in the order of the drain."""
        shape = self.shape
        first, blocks = shape.tiles[tile]
        found = []
        for block in range(blocks):
            for column in range(-(-shape.width // shape.window)):
                for j in range(shape.rows):
                    values = {}
                    for cluster in range(config.clusters):
                        y = (first + block) * config.clusters + cluster
                        if y < shape.stored[0] and column < shape.stored[1]:
                            m = shape.window
                            window = self.acts[m * y : m * y + m, m * column : m * column + m, j]
                            values[cluster] = window.max(axis=(0, 1)).tolist()
                    place = self.first_column + j
                    words = block * shape.stored[1] + column
                    address = base + words * self.pixel_words + place // config.act_columns
                    found.append((values, address, place % config.act_columns))
        return found


class Bench:
    def __init__(self, config, rng):
        self.config, self.rng = config, rng
        self.dut = Drain(config, read_latency=READ_LATENCY)
        channels = (config.param_depth, config.lanes)
        self.bias = rng.integers(-3000, 3000, channels)
        self.scales = rng.integers(0, 2**16, (2, *channels)).astype(np.uint16)
        self.phase = rng.integers(0, 2, channels)

    async def load(self, ctx):
        ctx.set(self.dut.load_valid, 1)
        ctx.set(self.dut.load.memory, int(Memory.PARAM))
        for lane in range(self.config.lanes):
            ctx.set(self.dut.load.lane, lane)
            for row in range(self.config.param_depth):
                low, high = (int(scale[row, lane]) for scale in self.scales)
                value = (int(self.bias[row, lane]) & 0xFFFFFFFF) | low << 32 | high << 48
                ctx.set(self.dut.load.address, row)
                ctx.set(self.dut.load.data, value | int(self.phase[row, lane]) << 64)
                await ctx.tick()
        ctx.set(self.dut.load_valid, 0)

    async def run(self, ctx, layers):
        """Drain each context's layers tile after tile, the contexts' tiles mixed."""
        config, dut = self.config, self.dut
        await self.load(ctx)
        ctx.set(dut.oldest, 1)
        queues = [
            [(layer, tile) for layer in layers[context] for tile in range(len(layer.shape.tiles))]
            for context in range(config.contexts)
        ]
        active, resting, pipe = {}, set(), [None] * (READ_LATENCY + 1)
        thetas, cycle = [], 0
        while any(queues) or active or thetas:
            for context, queue in enumerate(queues):
                if queue and context not in active and context not in resting:
                    layer, tile = queue.pop(0)
                    base = int(self.rng.integers(0, 8))
                    for name, value in layer.fields(self, tile, base).items():
                        ctx.set(dut.jobs[context][name], value)
                    ctx.set(dut.request[context], 1)
                    active[context] = (layer, tile, layer.rows(config, tile, base))
            resting = set()
            read = None
            if ctx.get(dut.acc_read_valid):
                read = ctx.get(dut.acc_read.context), ctx.get(dut.acc_read.row)
            pipe = [read, *pipe[:-1]]
            self.drive(ctx, active, pipe[READ_LATENCY])
            self.check_row(ctx, active)
            while thetas and thetas[0][0] == cycle:
                _, context, theta = thetas.pop(0)
                assert ctx.get(dut.theta[context]) == theta
            for context in [c for c in active if ctx.get(dut.done) >> c & 1]:
                layer, tile, rows = active.pop(context)
                assert rows == []
                if tile == len(layer.shape.tiles) - 1:
                    thetas.append((cycle + dut.THETA_CYCLES, context, layer.theta))
                resting.add(context)
            await ctx.tick()
            cycle += 1
            for context in resting:
                ctx.set(dut.request[context], 0)

    def drive(self, ctx, active, read):
        """Give the accumulators' contents; rows that do not exist hold anything."""
        config = self.config
        shape = (config.clusters, config.groups, config.lanes)
        values = self.rng.integers(-(2**14), 2**14, shape)
        if read is not None:
            layer, tile, _ = active[read[0]]
            outputs, column, j = layer.line(config, tile, read[1])
            for cluster, y in enumerate(outputs):
                if y < layer.shape.height:
                    values[cluster] = layer.sums[y, column, j]
        for cluster, port in enumerate(self.dut.sums):
            ctx.set(port, values[cluster].tolist())

    def check_row(self, ctx, active):
        row = self.dut.row
        if ctx.get(self.dut.row_valid):
            values, address, column = active[ctx.get(row.context)][2].pop(0)
            banks = ctx.get(row.banks)
            assert banks == sum(1 << cluster for cluster in values)
            if banks:
                assert ctx.get(row.address) == address
                assert ctx.get(row.column) == column
            for cluster, acts in values.items():
                assert [ctx.get(act) for act in row.acts[cluster]] == acts


SHAPES = {
    "plain": Shape(height=7, width=3, rows=2, pooled=0, tiles=((0, 1), (1, 1))),
    "pixel": Shape(height=1, width=1, rows=3, pooled=0, tiles=((0, 1),)),
    "pooled": Shape(height=12, width=6, rows=1, pooled=1, tiles=((0, 2),)),
    "odd": Shape(height=11, width=5, rows=3, pooled=1, tiles=((0, 1), (1, 1))),
    "odd_ceil": Shape(height=9, width=7, rows=2, pooled=1, tiles=((0, 1), (1, 1)), ceil=1),
}


@pytest.mark.parametrize("name", list(SHAPES))
@pytest.mark.parametrize("mode", [ThresholdMode.EXACT, ThresholdMode.SAMPLED], ids=str)
def test_tiles_match_reference(simulate, rng, name, mode):
    bench = Bench(CONFIG, rng)
    layers = [[Layer(bench, SHAPES[name], mode)] for _ in range(2)]

    async def run(ctx):
        await bench.run(ctx, layers)

    simulate(bench.dut, run, budget=4000)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, clusters=1, contexts=1),
        replace(CONFIG, clusters=2, groups=2, act_word=16),
        replace(CONFIG, lanes=4, groups=4, act_word=4, axi_data_width=32),
    ],
    ids=["one_cluster", "groups", "single_column"],
)
def test_other_configurations_match_reference(simulate, rng, config):
    bench = Bench(config, rng)
    tiles = tuple((first, 1) for first in range(-(-6 // config.clusters)))
    shape = Shape(height=11, width=4, rows=2, pooled=1, tiles=tiles)
    layers = [[Layer(bench, shape, ThresholdMode.SAMPLED)] for _ in range(config.contexts)]

    async def run(ctx):
        await bench.run(ctx, layers)

    simulate(bench.dut, run, budget=4000)
