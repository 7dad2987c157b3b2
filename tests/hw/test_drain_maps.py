"""Tiles of convolutions through the drain."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from jpnet_hw.drain import Drain
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory
from jpnet_spec.layer import AFFINE_UNIT
from jpnet_spec.numbers import requantise, requantise_with_addend
from jpnet_spec.topn import ThresholdMode

shared_drain = cache(Drain)

CONFIG = AcceleratorConfig(
    lanes=2, groups=1, clusters=4, contexts=2, acc_depth=256, param_depth=16, act_depth=256
)
READ_LATENCY = 4
CARRIED_LATENCY = 4
SHIFT = 12


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A layer's output and how it is cut into tiles."""

    height: int
    width: int
    rows: int
    window: int = 1
    stride: int = 1
    tiles: tuple[tuple[int, int], ...] = ((0, 1),)
    ceil: int = 0
    carried: bool = False
    summed: bool = False
    second: bool = False

    @property
    def stored(self):
        """The stored map's size; rounded up, windows may hang over by all but one pixel."""
        over = self.window - 1 if self.ceil else 0
        sizes = (self.height + over, self.width + over)
        return tuple(max(0, size - self.window) // self.stride + 1 for size in sizes)

    @property
    def reads(self):
        """Cycles of a whole drain: the columns that a window has, for each of its rows."""
        starts = range(0, self.width, self.stride)
        columns = sum(min(self.window, self.width - start) for start in starts)
        reads = sum(blocks for _, blocks in self.tiles) * self.rows * self.window * columns
        return reads * (1 + self.summed)


def whole(height, clusters, stride):
    """Return all local blocks as one tile."""
    return ((0, -(-height // (clusters * stride))),)


CARRIED_DISTANCE = 32
SECOND_DISTANCE = 64
"""Words between a tensor that is written and the one that is added, or the second one."""


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
        self.multiplier = 0
        self.acts = requantise(total, *scales, SHIFT + 12)
        if shape.carried or shape.summed:
            self.add(bench, total, part)
        self.counted_acts, phase = self.acts, bench.phase[part]
        if shape.second:
            phase = self.write_second(bench)
        position = np.arange(shape.height * shape.width).reshape(shape.height, shape.width, 1, 1)
        counted = np.ones(self.acts.shape, dtype=np.bool_)
        if mode is ThresholdMode.SAMPLED:
            counted = (position + phase % self.stride) % self.stride == 0
        magnitudes = np.abs(self.counted_acts.astype(int))[counted]
        self.winners = int(rng.integers(0, counted.sum() + 2))
        self.theta = next(t for t in range(128) if (magnitudes > t).sum() <= self.winners)

    def add(self, bench, total, part):
        """Add a random tensor of activations, or other sums, which lie behind the sums."""
        size = (*self.sums.shape[:3], bench.config.lanes)
        self.addend = bench.rng.integers(-127, 128, size)
        if self.shape.summed:
            self.others = bench.rng.integers(-127, 128, self.sums.shape)
            self.addend = self.others.sum(axis=3)
        self.multiplier = int(bench.rng.choice([1, 30000, 65535]))
        multiplier, rectified = bench.scales[0][part], bench.scales[1][part] == 0
        self.acts = requantise_with_addend(
            total,
            self.addend,
            multiplier=multiplier,
            negative_multiplier=np.where(rectified, 0, multiplier),
            addend_multiplier=self.multiplier,
            shift=SHIFT + 12,
        )

    def write_second(self, bench):
        """Apply each channel's affine function to the outputs; return the channels' phases."""
        config = bench.config
        rows = self.shape.rows
        self.second_params = int(bench.rng.integers(0, config.param_depth - rows + 1))
        part = slice(self.second_params, self.second_params + rows)
        unit = np.where(bench.inverted[part], -AFFINE_UNIT, AFFINE_UNIT)
        total = self.acts.astype(np.int64) * unit + bench.bias[part]
        scales = [scale[part] for scale in bench.scales]
        self.counted_acts = requantise(total, *scales, SHIFT + 10)
        return bench.phase[part]

    def fields(self, bench, tile, base):
        """Return the job of a tile."""
        shape, config = self.shape, bench.config
        first, blocks = shape.tiles[tile]
        lines = config.clusters * shape.stride
        return {
            "convolution": 1,
            "pooled": int(shape.stride == 2),
            "last_tap": shape.window - 1,
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
            "sample_cluster": shape.stride * shape.width % self.stride,
            "sample_block": lines * shape.width % self.stride,
            "sample_line": shape.width % self.stride,
            "carried": int(shape.carried),
            "carried_base": (base + CARRIED_DISTANCE) if shape.carried else 0,
            "carried_multiplier": self.multiplier,
            "summed": int(shape.summed),
            "summed_row": self.lines(tile) + 3 if shape.summed else 0,
            "second": int(shape.second),
            "second_base": (base + SECOND_DISTANCE) if shape.second else 0,
            "second_params": self.second_params if shape.second else 0,
            "second_shift": SHIFT + 10 if shape.second else 0,
        }

    def position(self, config, tile, place, row):
        """Return the output position of an accumulator row, whether or not it exists."""
        shape = self.shape
        line, inner = divmod(row, shape.width * shape.rows)
        block, lower = divmod(line, shape.stride)
        block += shape.tiles[tile][0]
        y = (block * config.clusters + place) * shape.stride + lower
        return y, *divmod(inner, shape.rows)

    def lines(self, tile):
        """Return the accumulator rows of a tile."""
        shape = self.shape
        return shape.tiles[tile][1] * shape.stride * shape.width * shape.rows

    def rows(self, config, tile, base):
        """Return, in the order of the drain, (rows by bank, address, column).

        Rows of a second tensor are mixed with those of the first one; each has a list.
        """
        found = self.rows_of(self.acts, config, tile, base)
        if not self.shape.second:
            return {False: found}
        second = self.rows_of(self.counted_acts, config, tile, base + SECOND_DISTANCE)
        return {False: found, True: second}

    def rows_of(self, acts, config, tile, base):
        """Return the rows of one tensor."""
        shape = self.shape
        first, blocks = shape.tiles[tile]
        found = []
        for block in range(blocks):
            for column in range(-(-shape.width // shape.stride)):
                for j in range(shape.rows):
                    values = {}
                    for cluster in range(config.clusters):
                        y = (first + block) * config.clusters + cluster
                        if y < shape.stored[0] and column < shape.stored[1]:
                            top, left = y * shape.stride, column * shape.stride
                            window = acts[top:, left:, j][: shape.window, : shape.window]
                            values[cluster] = window.max(axis=(0, 1)).tolist()
                    place = self.first_column + j
                    words = block * shape.stored[1] + column
                    address = base + words * self.pixel_words + place // config.act_columns
                    found.append((values, address, place % config.act_columns))
        return found


class Bench:
    def __init__(self, config, rng):
        self.config, self.rng = config, rng
        self.dut = shared_drain(config, read_latency=READ_LATENCY, carried_latency=CARRIED_LATENCY)
        channels = (config.param_depth, config.lanes)
        self.bias = rng.integers(-3000, 3000, channels)
        self.scales = rng.integers(0, 2**16, (2, *channels)).astype(np.uint16)
        self.scales[1] *= rng.random(channels) < 0.7
        self.phase = rng.integers(0, 2, channels)
        self.inverted = rng.random(channels) < 0.5

    async def load(self, ctx):
        ctx.set(self.dut.load_valid, 1)
        ctx.set(self.dut.load.memory, int(Memory.PARAM))
        for lane in range(self.config.lanes):
            ctx.set(self.dut.load.lane, lane)
            for row in range(self.config.param_depth):
                low, high = (int(scale[row, lane]) for scale in self.scales)
                value = int(self.bias[row, lane]) & 0x7FFFFFFF
                value |= int(self.inverted[row, lane]) << 31 | low << 32 | high << 48
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
        carried = [None] * (CARRIED_LATENCY + 1)
        self.last_read, self.bases = {}, {}
        self.armed = {context: set() for context in range(config.contexts)}
        self.reads = 0
        thetas, cycle = [], 0
        for context in range(config.contexts):
            self.offer(ctx, context, queues[context])
        await ctx.tick()
        while any(queues) or active or thetas:
            for context, queue in enumerate(queues):
                if queue and context not in active and context not in resting:
                    layer, tile = queue.pop(0)
                    base = self.bases[context]
                    ctx.set(dut.request[context], 1)
                    active[context] = (layer, tile, layer.rows(config, tile, base))
            resting = set()
            read = self.read(ctx, active) if ctx.get(dut.acc_read_valid) else None
            pipe = [read, *pipe[:-1]]
            self.drive(ctx, pipe[READ_LATENCY])
            carried = [self.read_carried(ctx, active), *carried[:-1]]
            self.drive_carried(ctx, carried[CARRIED_LATENCY])
            self.check_row(ctx, active)
            while thetas and thetas[0][0] == cycle:
                _, context, theta = thetas.pop(0)
                assert ctx.get(dut.theta[context]) == theta
            for context in [c for c in active if ctx.get(dut.done) >> c & 1]:
                layer, tile, rows = active.pop(context)
                assert not any(rows.values())
                self.check_armed(layer, tile, self.armed[context])
                if tile == len(layer.shape.tiles) - 1:
                    thetas.append((cycle + dut.THETA_CYCLES, context, layer.theta))
                ctx.set(dut.request[context], 0)
                resting.add(context)
            await ctx.tick()
            cycle += 1
            for context in resting:
                self.offer(ctx, context, queues[context])
        self.cycles = cycle

    def offer(self, ctx, context, queue):
        """Set the next job of a context, somewhere in its memory."""
        for layer, tile in queue[:1]:
            self.bases[context] = int(self.rng.integers(0, 8))
            for name, value in layer.fields(self, tile, self.bases[context]).items():
                ctx.set(self.dut.jobs[context][name], value)

    def read(self, ctx, active):
        """Return the sums of the rows that are read; re-armed or missing ones hold anything."""
        config = self.config
        self.reads += 1
        values = self.junk()
        for cluster, port in enumerate(self.dut.acc_read):
            context, row = ctx.get(port.context), ctx.get(port.row)
            layer, tile, _ = active[context]
            place = (cluster + config.turns[context]) % config.clusters
            sums, distance = layer.sums, layer.lines(tile) + 3
            if layer.shape.summed and row >= distance:
                sums, row = layer.others, row - distance
                assert self.last_read[cluster] == (context, row)
                assert not ctx.get(port.keep)
                y, column, j = layer.position(config, tile, place, row)
                if y < layer.shape.height:
                    values[cluster] = sums[y, column, j]
                continue
            assert row < layer.lines(tile), "a row of another image or tile is read"
            self.last_read[cluster] = context, row
            y, column, j = layer.position(config, tile, place, row)
            armed = self.armed[context]
            if row < layer.lines(tile) and y < layer.shape.height and (cluster, row) not in armed:
                values[cluster] = layer.sums[y, column, j]
            if not ctx.get(port.keep):
                assert (cluster, row) not in armed
                armed.add((cluster, row))
        return values

    def read_carried(self, ctx, active):
        """Return the rows of the tensor that is added, or nothing of use."""
        config, dut = self.config, self.dut
        values = self.rng.integers(-128, 128, (config.clusters, config.lanes))
        if ctx.get(dut.carried_read):
            layer, tile, _ = active[ctx.get(dut.carried.context)]
            shape = layer.shape
            first_block = shape.tiles[tile][0]
            word = ctx.get(dut.carried.address) - self.bases[ctx.get(dut.carried.context)]
            column = ctx.get(dut.carried.column)
            pixel, word = divmod(word - CARRIED_DISTANCE, layer.pixel_words)
            block, x = divmod(pixel, shape.width)
            j = word * config.act_columns + column - layer.first_column
            for cluster in range(config.clusters):
                y = (first_block + block) * config.clusters + cluster
                if y < shape.height:
                    values[cluster] = layer.addend[y, x, j]
        return values

    def drive_carried(self, ctx, values):
        if values is not None:
            for port, row in zip(self.dut.carried_rows, values, strict=True):
                ctx.set(port, row.tolist())

    def junk(self):
        config = self.config
        shape = (config.clusters, config.groups, config.lanes)
        return self.rng.integers(-(2**14), 2**14, shape)

    def check_armed(self, layer, tile, armed):
        """Every accumulator of the tile was re-armed, and no other."""
        rows, clusters = range(layer.lines(tile)), range(self.config.clusters)
        assert armed == {(cluster, row) for cluster in clusters for row in rows}
        armed.clear()

    def drive(self, ctx, read):
        values = self.junk() if read is None else read
        for cluster, port in enumerate(self.dut.sums):
            ctx.set(port, values[cluster].tolist())

    def check_row(self, ctx, active):
        row = self.dut.row
        if ctx.get(self.dut.row_valid):
            lists = active[ctx.get(row.context)][2]
            banks = ctx.get(row.banks)
            again = len(lists) > 1 and ctx.get(row.address) >= SECOND_DISTANCE
            values, address, column = lists[again].pop(0)
            assert banks == sum(1 << cluster for cluster in values)
            if banks:
                assert ctx.get(row.address) == address
                assert ctx.get(row.column) == column
            for cluster, acts in values.items():
                assert [ctx.get(act) for act in row.acts[cluster]] == acts


SHAPES = {
    "plain": Shape(height=7, width=3, rows=2, tiles=((0, 1), (1, 1))),
    "pixel": Shape(height=1, width=1, rows=3),
    "pooled": Shape(height=12, width=6, rows=1, window=2, stride=2, tiles=((0, 2),)),
    "odd": Shape(height=11, width=5, rows=3, window=2, stride=2, tiles=((0, 1), (1, 1))),
    "odd_ceil": Shape(
        height=9, width=7, rows=2, window=2, stride=2, tiles=((0, 1), (1, 1)), ceil=1
    ),
}
OVERLAPPING = [(2, 1), (3, 1), (3, 2)]


def drain(simulate, bench, layers):
    async def run(ctx):
        await bench.run(ctx, layers)

    simulate(bench.dut, run, budget=4000)
    shapes = [layer.shape for queue in layers for layer in queue]
    assert bench.reads == sum(shape.reads for shape in shapes)


# Two clusters have all that there is; one and four take minutes.
CLUSTERS = [2, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 4))]


def test_clusters_of_four_contexts_turn(simulate, rng):
    config = replace(CONFIG, contexts=4)
    assert config.turns == (0, 2, 1, 3)
    bench = Bench(config, rng)
    layers = [
        (Shape(height=7, width=2, rows=2, tiles=whole(7, 4, 1), carried=True), "SAMPLED"),
        (Shape(height=11, width=3, rows=1, window=3, stride=2, tiles=whole(11, 4, 2)), "SAMPLED"),
        # Only one cluster has something that counts.
        (Shape(height=1, width=4, rows=3), "EXACT"),
    ]
    drain(
        simulate,
        bench,
        [[Layer(bench, shape, ThresholdMode[mode]) for shape, mode in layers] for _ in range(4)],
    )


@pytest.mark.parametrize("name", list(SHAPES))
@pytest.mark.parametrize("mode", [ThresholdMode.EXACT, ThresholdMode.SAMPLED], ids=str)
def test_tiles_match_reference(simulate, rng, name, mode):
    bench = Bench(CONFIG, rng)
    drain(simulate, bench, [[Layer(bench, SHAPES[name], mode)] for _ in range(2)])


ADDED = {
    "carried": {"carried": True},
    "summed": {"summed": True},
    "second": {"second": True},
    "carried_second": {"carried": True, "second": True},
    "summed_second": {"summed": True, "second": True},
}


ADDING = {
    "edge": CONFIG,
    "one_cluster": replace(CONFIG, clusters=1, contexts=1),
    "single_column": replace(CONFIG, lanes=4, clusters=2, act_word=4, axi_data_width=32),
}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        pytest.param(
            added,
            config,
            marks=[pytest.mark.slow] if (number + place) % len(ADDING) else [],
            id=f"{added}-{label}",
        )
        for number, added in enumerate(ADDED)
        for place, (label, config) in enumerate(ADDING.items())
    ],
)
def test_addends_and_second_tensors_match_reference(simulate, rng, name, config):
    bench = Bench(config, rng)
    tiles = tuple((first, 1) for first in range(-(-6 // config.clusters)))
    plain = Shape(height=5, width=3, rows=2, tiles=whole(5, config.clusters, 1))
    shapes = [
        replace(plain, **ADDED[name]),
        plain,
        Shape(height=6, width=2, rows=3, tiles=tiles, **ADDED[name]),
        replace(plain, second=True),
    ]
    modes = [ThresholdMode.EXACT, ThresholdMode.SAMPLED, ThresholdMode.STATIC]
    layers = [
        [Layer(bench, shape, modes[(place + context) % 2]) for place, shape in enumerate(shapes)]
        for context in range(config.contexts)
    ]
    drain(simulate, bench, layers)


def test_a_second_tensor_costs_a_cycle_for_each_row(simulate, rng):
    bench = Bench(replace(CONFIG, contexts=1), rng)
    shape = Shape(height=8, width=4, rows=2, tiles=((0, 2),), second=True)
    cycles = []

    async def run(ctx):
        await bench.run(ctx, [[Layer(bench, shape, ThresholdMode.EXACT)]])
        cycles.append(bench.cycles)

    simulate(bench.dut, run, budget=1000)
    assert cycles[0] < 2 * 16 + bench.dut.latency + 20


@pytest.mark.parametrize(("window", "stride"), OVERLAPPING)
@pytest.mark.parametrize("clusters", CLUSTERS)
@pytest.mark.parametrize("ceil", [0, 1])
def test_overlapping_windows_match_reference(simulate, rng, window, stride, clusters, ceil):
    bench = Bench(replace(CONFIG, clusters=clusters), rng)
    layers = [[], []]
    for number, height in enumerate((3, clusters * stride + 1, 2 * clusters * stride + 2)):
        shape = Shape(
            height=height,
            width=int(rng.integers(3, 8)),
            rows=int(rng.integers(1, 3)),
            window=window,
            stride=stride,
            tiles=whole(height, clusters, stride),
            ceil=ceil,
        )
        mode = [ThresholdMode.EXACT, ThresholdMode.SAMPLED][number % 2]
        layers[number % 2].append(Layer(bench, shape, mode))
    drain(simulate, bench, layers)


@pytest.mark.parametrize(("window", "stride"), [*OVERLAPPING, (2, 2)])
@pytest.mark.parametrize("clusters", CLUSTERS)
def test_windows_that_hang_over_small_maps_match_reference(simulate, rng, window, stride, clusters):
    bench = Bench(replace(CONFIG, clusters=clusters), rng)
    layers = [[], []]
    for number, (height, width) in enumerate(((1, 1), (2, 1), (1, 4), (2, 2))):
        shape = Shape(
            height=height,
            width=width,
            rows=2,
            window=window,
            stride=stride,
            tiles=whole(height, clusters, stride),
            ceil=1,
        )
        layers[number % 2].append(Layer(bench, shape, ThresholdMode.SAMPLED))
    drain(simulate, bench, layers)


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, clusters=1, contexts=1),
        replace(CONFIG, clusters=2, groups=2, act_word=16),
        replace(CONFIG, lanes=4, clusters=2, act_word=4, axi_data_width=32),
    ],
    ids=["one_cluster", "groups", "single_column"],
)
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2)])
def test_other_configurations_match_reference(simulate, rng, config, window, stride):
    bench = Bench(config, rng)
    tiles = whole(11, config.clusters, stride)
    if window == stride:
        tiles = tuple((first, 1) for first in range(tiles[0][1]))
    shape = Shape(height=11, width=4, rows=2, window=window, stride=stride, tiles=tiles)
    mode = ThresholdMode.SAMPLED
    drain(simulate, bench, [[Layer(bench, shape, mode)] for _ in range(config.contexts)])


@pytest.mark.parametrize("clusters", [1, 4])
def test_clear_rearms_every_row_after_overlapping_windows(simulate, rng, clusters):
    bench = Bench(replace(CONFIG, clusters=clusters, acc_depth=32), rng)
    dut = bench.dut
    shape = Shape(height=5, width=3, rows=1, window=3, stride=2, tiles=whole(5, clusters, 2))
    layers = [[Layer(bench, shape, ThresholdMode.EXACT)], []]

    async def run(ctx):
        await bench.run(ctx, layers)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        seen = []
        while ctx.get(dut.clear_busy):
            if ctx.get(dut.acc_read_valid):
                assert not any(ctx.get(port.keep) for port in dut.acc_read)
                seen.append({(ctx.get(port.context), ctx.get(port.row)) for port in dut.acc_read})
            await ctx.tick()
        assert seen == [{(context, row)} for context in range(2) for row in range(32)]

    simulate(dut, run, budget=600)
