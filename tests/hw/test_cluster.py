from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from jpnet_hw.activation_bank import ActivationBank
from jpnet_hw.cluster import Cluster
from jpnet_hw.skipper import ZeroSkipper
from jpnet_hw.word_network import WordNetwork
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.network import Layer
from jpnet_spec.tensor_layout import VectorLayout
from jpnet_sw.compiler.capacity import PartLists
from jpnet_sw.compiler.list_places import ListPlace
from jpnet_sw.compiler.lists import lane_lists, local_inputs
from jpnet_sw.compiler.placement import place_in_order
from jpnet_sw.compiler.sections import list_sections
from jpnet_sw.compiler.tensors import Tensor
from jpnet_sw.compiler.tiles import Part

CONFIG = AcceleratorConfig(
    lanes=2,
    groups=2,
    clusters=1,
    contexts=2,
    act_word=8,
    weight_depth=2048,
    pointer_depth=256,
    acc_depth=32,
    act_depth=16,
    fifo_depth=8,
)


class Path(wiring.Elaboratable):
    """Bank, skipper and a cluster; a context's tokens pass while its bit of `open` is 1."""

    def __init__(self, config):
        self.config = config
        self.cluster = Cluster(config)
        self.bank = ActivationBank(config)
        self.skipper = ZeroSkipper(config)
        self.network = WordNetwork(config)
        self.open = Signal(config.contexts, init=-1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.cluster = self.cluster
        m.submodules.bank = bank = self.bank
        m.submodules.skipper = skipper = self.skipper
        m.submodules.network = network = self.network
        passing = self.open.bit_select(skipper.o.payload.context, 1)
        m.d.comb += [
            skipper.oldest.eq(1),
            network.asks[0].eq(skipper.ask),
            skipper.granted.eq(network.granted[0]),
            skipper.word.eq(network.words[0]),
            bank.r_address.eq(network.r_address[0]),
            network.r_word[0].eq(bank.r_word),
            self.cluster.i.payload.eq(skipper.o.payload),
            self.cluster.i.valid.eq(skipper.o.valid & passing),
            skipper.o.ready.eq(self.cluster.i.ready & passing),
        ]
        return m


shared_path = cache(Path)


def make_layer(rng, ic, oc, density):
    weight = rng.integers(-127, 128, (oc, ic)) * (rng.random((oc, ic)) < density)
    ones = np.ones(oc, dtype=np.uint16)
    return Layer(
        name="fc",
        weight=weight.astype(np.int8),
        bias=np.zeros(oc, dtype=np.int32),
        multiplier=ones,
        negative_multiplier=ones,
        shift=0,
    )


async def load(ctx, port_valid, port, sections):
    ctx.set(port_valid, 1)
    for section in sections:
        for name in ("memory", "wide", "lane"):
            ctx.set(getattr(port, name), int(getattr(section, name)))
        ctx.set(port.all_groups, int(section.group is None))
        ctx.set(port.group, section.group or 0)
        for address, values in enumerate(section.values, start=section.address):
            ctx.set(port.address, address)
            for place in range(4):
                ctx.set(port.lists[place], int(values[place % section.lanes % len(values)]))
            await ctx.tick()
    ctx.set(port_valid, 0)


def sections_of(layer, config, *, divided):
    positions = place_in_order(layer.weight.shape[0])
    count = layer.weight.shape[1]
    layout = VectorLayout(config=config, channels=count)
    source = Tensor(layout=layout, positions=place_in_order(count))
    part = Part(first_row=0, rows=-(-len(positions) // config.lanes))
    lanes = {}
    for group in range(config.groups) if divided else [None]:
        local = local_inputs(source, slice(None), cluster=0, group=group)
        for lane in range(config.lanes):
            lanes[0, group, lane] = lane_lists(
                layer, local, positions, part, config, lane=lane, dense=False
            )
    lists = PartLists(part=part, alike=False, lanes=lanes)
    return list_sections(lists, ListPlace(weights=0, pointers=0))


async def fill_bank(ctx, bank, config, context, vector):
    padded = np.zeros(-(-len(vector) // config.lanes) * config.lanes, dtype=np.int8)
    padded[: len(vector)] = vector
    rows = padded.reshape(-1, config.lanes)
    ctx.set(bank.row_valid, 1)
    for row, acts in enumerate(rows):
        ctx.set(bank.row_address, context * config.act_depth + row // config.act_columns)
        ctx.set(bank.row_column, row % config.act_columns)
        ctx.set(bank.row_data, int.from_bytes(acts.tobytes(), "little"))
        await ctx.tick()
    ctx.set(bank.row_valid, 0)


async def read_sums(ctx, cluster, config, context, oc):
    rows = -(-oc // config.lanes)
    seen = []
    for cycle in range(rows + cluster.DRAIN_LATENCY):
        ctx.set(cluster.drain_valid, int(cycle < rows))
        ctx.set(cluster.drain.context, context)
        ctx.set(cluster.drain.row, min(cycle, rows - 1))
        if cycle >= cluster.DRAIN_LATENCY:
            seen.append(
                [
                    sum(ctx.get(cluster.sums[g][lane]) for g in range(config.groups))
                    for lane in range(config.lanes)
                ]
            )
        await ctx.tick()
    return np.array(seen).ravel()[:oc]


async def clear(ctx, cluster, config):
    for context in range(config.contexts):
        await read_sums(ctx, cluster, config, context, config.acc_depth * config.lanes)
    ctx.set(cluster.arm, 2**config.contexts - 1)
    await ctx.tick()
    ctx.set(cluster.arm, 0)


def set_job(ctx, skipper, config, context, *, inputs, theta, divided, dense=False):
    rows = -(-inputs // config.lanes)
    job = skipper.jobs[context]
    ctx.set(job.base, 0)
    ctx.set(job.words, -(-rows // config.act_columns))
    ctx.set(job.pixel_words, -(-rows // config.act_columns))
    ctx.set(job.channel_lists, 1)
    ctx.set(job.run_lists, 1)
    ctx.set(job.tail, rows * config.lanes % config.act_word)
    ctx.set(job.theta, theta)
    ctx.set(job.divided, int(divided))
    ctx.set(job.dense, int(dense))
    ctx.set(job.pointer_base, 0)


async def start(ctx, skipper, contexts):
    ctx.set(skipper.begin, contexts)
    await ctx.tick()
    ctx.set(skipper.begin, 0)


@pytest.mark.parametrize(
    ("config", "ic", "oc", "density", "theta", "divided"),
    [
        (CONFIG, 40, 30, 0.3, 0, False),
        (CONFIG, 40, 30, 0.3, 40, True),
        (CONFIG, 64, 20, 1.0, 0, False),
        (CONFIG, 64, 7, 0.05, 0, True),
        (CONFIG, 1, 1, 1.0, 0, False),
        (replace(CONFIG, contexts=4), 40, 30, 0.3, 0, False),
        (replace(CONFIG, lanes=1, groups=1), 33, 20, 0.5, 3, False),
        (replace(CONFIG, lanes=1, groups=4, contexts=1), 33, 20, 0.5, 3, False),
        (replace(CONFIG, lanes=4, groups=1), 33, 64, 0.2, 127, False),
    ],
)
def test_all_contexts_at_once_give_the_exact_sums(
    simulate, rng, config, ic, oc, density, theta, divided
):
    layer = make_layer(rng, ic, oc, density)
    shape = (config.contexts, 3, ic)
    vectors = (rng.integers(-127, 128, shape) * (rng.random(shape) < 0.5)).astype(np.int8)
    dut = shared_path(config)

    async def bench(ctx):
        cluster = dut.cluster
        sections = sections_of(layer, config, divided=divided)
        await load(ctx, cluster.load_valid, cluster.load, sections)
        await clear(ctx, cluster, config)
        for round_ in range(3):
            everyone = 2**config.contexts - 1
            for k in range(config.contexts):
                await fill_bank(ctx, dut.bank, config, k, vectors[k][round_])
                set_job(ctx, dut.skipper, config, k, inputs=ic, theta=theta, divided=divided)
            await start(ctx, dut.skipper, everyone)
            while ctx.get(cluster.done) != everyone:
                await ctx.tick()
            ctx.set(cluster.arm, everyone)
            await ctx.tick()
            ctx.set(cluster.arm, 0)
            for k in range(config.contexts):
                vector = vectors[k][round_].astype(int)
                vector[np.abs(vector) <= theta] = 0
                sums = await read_sums(ctx, cluster, config, k, oc)
                assert sums.tolist() == (layer.weight.astype(int) @ vector).tolist()

    simulate(dut, bench, budget=40000)


@pytest.mark.parametrize(("closed", "divided"), [(0.5, True), (0.9, False)])
def test_random_back_pressure_changes_no_sum(simulate, rng, closed, divided):
    """Every context works through its own vectors at its own pace, armed and drained alone."""
    ic, oc = 40, 30
    layer = make_layer(rng, ic, oc, 0.3)
    vectors = rng.integers(-127, 128, (CONFIG.contexts, 3, ic)).astype(np.int8)
    dut = shared_path(CONFIG)

    async def doors(ctx):
        async for _ in ctx.tick():
            ctx.set(dut.open, sum(int(x) << k for k, x in enumerate(rng.random(2) >= closed)))

    async def bench(ctx):
        cluster = dut.cluster
        sections = sections_of(layer, CONFIG, divided=divided)
        await load(ctx, cluster.load_valid, cluster.load, sections)
        await clear(ctx, cluster, CONFIG)
        left = [list(queue) for queue in vectors]

        async def begin(k):
            await fill_bank(ctx, dut.bank, CONFIG, k, left[k][0])
            set_job(ctx, dut.skipper, CONFIG, k, inputs=ic, theta=20, divided=divided)
            await start(ctx, dut.skipper, 1 << k)

        for k in range(CONFIG.contexts):
            await begin(k)
        overlapped = 0
        while any(left):
            await ctx.tick()
            done = ctx.get(cluster.done)
            for k in range(CONFIG.contexts):
                if not (left[k] and done >> k & 1):
                    continue
                overlapped += ctx.get(dut.skipper.busy) >> (1 - k) & 1
                ctx.set(cluster.arm, 1 << k)
                await ctx.tick()
                ctx.set(cluster.arm, 0)
                vector = left[k].pop(0).astype(int)
                vector[np.abs(vector) <= 20] = 0
                sums = await read_sums(ctx, cluster, CONFIG, k, oc)
                assert sums.tolist() == (layer.weight.astype(int) @ vector).tolist()
                if left[k]:
                    await begin(k)
        assert overlapped > 0

    simulate(dut, bench, doors, budget=20000)


def test_lanes_are_fed_without_gaps(simulate, rng):
    """With even lists the products take the bound plus the pipelines' filling."""
    config = replace(CONFIG, contexts=1)
    ic, oc = 64, 60
    layer = make_layer(rng, ic, oc, 1.0)
    layer.weight[layer.weight == 0] = 1
    vector = rng.integers(1, 128, ic).astype(np.int8)
    dut = shared_path(config)
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        cluster = dut.cluster
        sections = sections_of(layer, config, divided=False)
        await load(ctx, cluster.load_valid, cluster.load, sections)
        await clear(ctx, cluster, config)
        await fill_bank(ctx, dut.bank, config, 0, vector)
        set_job(ctx, dut.skipper, config, 0, inputs=ic, theta=0, divided=False)
        await start(ctx, dut.skipper, 1)
        while not ctx.get(cluster.done):
            cycles += 1
            await ctx.tick()

    simulate(dut, bench, budget=20000)
    bound = ic * oc // 4
    assert bound < cycles <= bound + 32


def test_an_empty_job_ends(simulate):
    dut = shared_path(CONFIG)

    async def bench(ctx):
        set_job(ctx, dut.skipper, CONFIG, 1, inputs=0, theta=0, divided=False)
        await start(ctx, dut.skipper, 2)
        cycles = 0
        while ctx.get(dut.cluster.done) != 2:
            cycles += 1
            await ctx.tick()
        assert cycles <= 30
        assert not ctx.get(dut.skipper.busy)

    simulate(dut, bench, budget=200)
