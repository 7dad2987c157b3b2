from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal

from jpnet_hw.drain import Drain
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory
from jpnet_spec.numbers import requantise
from jpnet_spec.topn import ThresholdMode, TopN

shared_drain = cache(Drain)

CONFIG = AcceleratorConfig(
    groups=4, clusters=1, contexts=2, acc_depth=64, param_depth=64, act_depth=64
)
READ_LATENCY = 5


@dataclass(kw_only=True)
class Job:
    """One layer's sums and parameters, and what its drain must give."""

    context: int
    sums: np.ndarray
    fields: dict[str, int]
    acts: np.ndarray
    threshold: int
    requested: int = 0
    written: int = 0


class Bench:
    """Accumulators and contexts around a drain."""

    def __init__(self, config, rng):
        self.config = config
        self.dut = shared_drain(config, read_latency=READ_LATENCY, carried_latency=4)
        channels = (config.param_depth, config.lanes)
        self.bias = rng.integers(-3000, 3000, channels)
        self.scales = rng.integers(0, 2**16, (2, *channels)).astype(np.uint16)
        self.phase = rng.integers(0, 4, channels)
        self.rng = rng
        self.jobs = []
        self.active = {}
        self.oldest = 0
        self.rows_seen = []
        self.thetas = []
        self.reads = []
        self.done_cycles = []
        self.row_cycles = {}

    def add(self, context, rows, mode, *, winners=None, scale=6):
        """Queue a job of random sums."""
        config, rng = self.config, self.rng
        shape = (rows, config.clusters, config.groups, config.lanes)
        bits = min(scale + 16, config.acc_width) - 6
        sums = rng.integers(-(2**bits), 2**bits, shape)
        param_base = int(rng.integers(0, config.param_depth - rows + 1))
        part = slice(param_base, param_base + rows)
        total = sums.sum(axis=(1, 2)) + self.bias[part]
        shift = int(rng.integers(bits + 6, bits + 14)) if scale < 40 else scale
        acts = requantise(total, self.scales[0][part], self.scales[1][part], shift)
        counted = np.ones(acts.shape, dtype=np.bool_)
        if mode is ThresholdMode.SAMPLED:
            counted = self.phase[part] == 0
        if winners is None:
            winners = int(rng.integers(0, counted.sum() + 2))
        magnitude = np.abs(acts.astype(int))[counted]
        exact = next(t for t in range(128) if (magnitude > t).sum() <= winners)
        static = int(rng.integers(0, 128))
        threshold = {ThresholdMode.NONE: 0, ThresholdMode.STATIC: static}.get(mode, exact)
        fields = {
            "first_tile": 1,
            "last_tile": 1,
            "sample_stride": 4,
            "last_row": rows - 1,
            "target_base": int(rng.integers(0, config.act_depth - rows)),
            "param_base": param_base,
            "shift": shift,
            "winners": winners,
            "threshold_mode": int(mode),
            "static_threshold": static,
        }
        self.jobs.append(
            Job(context=context, sums=sums, fields=fields, acts=acts, threshold=threshold)
        )

    async def load(self, ctx):
        """Write all channel parameters."""
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
        ctx.set(self.dut.load.memory, int(Memory.WEIGHT))
        ctx.set(self.dut.load.data, 0)
        await ctx.tick()
        ctx.set(self.dut.load_valid, 0)

    async def run(self, ctx):
        """Serve all jobs, each context's in order, and check all that comes out."""
        await self.load(ctx)
        queues = [
            [job for job in self.jobs if job.context == k] for k in range(self.config.contexts)
        ]
        total, ended, cycle, resting = len(self.jobs), 0, 0, set()
        pipe = [None] * (READ_LATENCY + 1)
        ctx.set(self.dut.oldest, 1 << self.oldest)
        for queue in queues:
            self._offer(ctx, queue)
        await ctx.tick()
        while ended < total or self.thetas:
            for context, queue in enumerate(queues):
                if queue and context not in self.active and context not in resting:
                    self._request(ctx, queue.pop(0), cycle)
            resting = set()
            pipe = [self._read(ctx, cycle), *pipe[:-1]]
            self._drive_sums(ctx, pipe[READ_LATENCY])
            self._check_row(ctx, cycle)
            while self.thetas and self.thetas[0][0] == cycle:
                _, context, theta = self.thetas.pop(0)
                assert ctx.get(self.dut.theta[context]) == theta
            done = ctx.get(self.dut.done)
            for context in range(self.config.contexts):
                if done >> context & 1:
                    self._check_done(ctx, self.active.pop(context), cycle)
                    ctx.set(self.dut.request[context], 0)
                    resting.add(context)
                    ended += 1
            await ctx.tick()
            for context in resting:
                self._offer(ctx, queues[context])
            cycle += 1
        self.cycles = cycle

    def _offer(self, ctx, queue):
        """Set the next job of a context."""
        for job in queue[:1]:
            for name, value in job.fields.items():
                ctx.set(self.dut.jobs[job.context][name], value)

    def _request(self, ctx, job, cycle):
        ctx.set(self.dut.request[job.context], 1)
        job.requested = cycle
        self.active[job.context] = job

    def _read(self, ctx, cycle):
        if not ctx.get(self.dut.acc_read_valid):
            return None
        ports = self.dut.acc_read
        reads = {(ctx.get(port.context), ctx.get(port.row), ctx.get(port.keep)) for port in ports}
        assert len(reads) == 1
        context, row, keep = reads.pop()
        assert not keep
        self.reads.append((cycle, context, row))
        return context, row

    def _drive_sums(self, ctx, read):
        values = self.rng.integers(-100, 100, self.jobs[0].sums.shape[1:])
        if read is not None:
            values = self.active[read[0]].sums[read[1]]
        for cluster, port in enumerate(self.dut.sums):
            ctx.set(port, values[cluster].tolist())

    def _check_row(self, ctx, cycle):
        if not ctx.get(self.dut.row_valid):
            return
        row = self.dut.row
        context = ctx.get(row.context)
        job = self.active[context]
        index = job.written
        job.written += 1
        local, cluster = divmod(index, self.config.clusters)
        address, column = divmod(local, self.config.act_columns)
        assert ctx.get(row.column) == column
        assert ctx.get(row.banks) == 1 << cluster
        assert ctx.get(row.address) == job.fields["target_base"] + address
        assert [ctx.get(act) for act in row.acts[cluster]] == job.acts[index].tolist()
        assert not ctx.get(self.dut.written) >> context & 1
        self.rows_seen.append((context, index))
        self.row_cycles[context] = cycle

    def _check_done(self, ctx, job, cycle):
        context, mode = job.context, job.fields["threshold_mode"]
        self.thetas.append((cycle + self.dut.THETA_CYCLES, context, job.threshold))
        assert ctx.get(self.dut.written) >> context & 1
        counting = mode in (ThresholdMode.EXACT, ThresholdMode.SAMPLED)
        waited = 2 if counting else 1
        assert cycle == self.row_cycles[context] + waited
        self.done_cycles.append(cycle - job.requested)
        rows = [index for owner, index in self.rows_seen if owner == context]
        assert rows[-len(job.acts) :] == list(range(len(job.acts)))


def budget_for(bench):
    rows = sum(len(job.acts) for job in bench.jobs)
    config = bench.config
    return config.lanes * config.param_depth + rows + 40 * len(bench.jobs) + 100


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, lanes=1, groups=1, contexts=1),
        replace(CONFIG, lanes=2, groups=2, act_word=8),
        replace(CONFIG, groups=8, clusters=2, acc_width=32),
        replace(CONFIG, groups=1, clusters=2, acc_width=16),
        replace(CONFIG, lanes=8, act_word=8),
    ],
    ids=["edge", "one", "tiny", "wide", "narrow", "single_column"],
)
def test_random_jobs_match_reference(config, rng, simulate):
    bench = Bench(config, rng)
    modes = list(ThresholdMode)
    for number in range(11):
        rows = [1, 2, 3, 25, int(rng.integers(1, 50))][number % 5]
        context = int(rng.integers(0, config.contexts))
        bench.add(context, rows, modes[int(rng.integers(0, 4))])
    simulate(bench.dut, bench.run, budget=budget_for(bench))


@pytest.mark.parametrize("mode", list(ThresholdMode))
def test_job_latency(mode, rng, simulate):
    bench = Bench(CONFIG, rng)
    bench.add(0, 30, mode)
    simulate(bench.dut, bench.run, budget=budget_for(bench))
    assert bench.reads == [(3 + row, 0, row) for row in range(30)]
    counting = mode in (ThresholdMode.EXACT, ThresholdMode.SAMPLED)
    waited = 2 if counting else 1
    assert bench.done_cycles == [3 + 29 + bench.dut.latency + waited]


def test_rows_of_both_contexts_follow_without_a_gap(rng, simulate):
    bench = Bench(CONFIG, rng)
    bench.add(0, 20, ThresholdMode.EXACT)
    bench.add(1, 20, ThresholdMode.EXACT)
    simulate(bench.dut, bench.run, budget=budget_for(bench))
    assert [cycle for cycle, _, _ in bench.reads] == list(range(3, 43))


@pytest.mark.parametrize(
    ("mode", "short"), [(ThresholdMode.EXACT, [25, 26]), (ThresholdMode.NONE, [23, 24])]
)
def test_a_short_job_waits_if_it_is_counted_and_no_other_goes_before(mode, short, rng, simulate):
    bench = Bench(replace(CONFIG, contexts=4), rng)
    bench.add(0, 20, ThresholdMode.EXACT)
    bench.add(1, 2, mode)
    bench.add(2, 20, ThresholdMode.EXACT)
    simulate(bench.dut, bench.run, budget=budget_for(bench))
    cycles = [
        [cycle for cycle, owner, _ in bench.reads if owner == context] for context in range(3)
    ]
    after = short[-1] + 1
    assert cycles == [list(range(3, 23)), short, list(range(after, after + 20))]


@pytest.mark.parametrize("oldest", range(4))
def test_the_oldest_image_is_served_first_and_the_others_by_age(oldest, rng, simulate):
    bench = Bench(replace(CONFIG, contexts=4), rng)
    bench.oldest = oldest
    for context in range(4):
        bench.add(context, 50, ThresholdMode.NONE)
    simulate(bench.dut, bench.run, budget=budget_for(bench))
    owners = [context for _, context, row in bench.reads if row == 0]
    assert owners == [(oldest + age) % 4 for age in range(4)]


def test_clear_sweeps_every_row_of_every_context_and_writes_nothing(simulate):
    config = replace(CONFIG, acc_depth=16, clusters=2)
    dut = shared_drain(config, read_latency=READ_LATENCY, carried_latency=4)

    async def bench(ctx):
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        seen = []
        while ctx.get(dut.clear_busy):
            if ctx.get(dut.acc_read_valid):
                assert not any(ctx.get(port.keep) for port in dut.acc_read)
                reads = {(ctx.get(port.context), ctx.get(port.row)) for port in dut.acc_read}
                assert len(reads) == 1
                seen.append(reads.pop())
            await ctx.tick()
        assert seen == [(context, row) for context in range(2) for row in range(16)]
        for _ in range(dut.latency + 10):
            assert not ctx.get(dut.acc_read_valid)
            assert not ctx.get(dut.row_valid)
            assert not ctx.get(dut.done)
            await ctx.tick()

    simulate(dut, bench, budget=200)


def test_reset_forgets_a_job_and_the_next_one_is_right(rng, simulate):
    bench = Bench(CONFIG, rng)
    bench.add(1, 30, ThresholdMode.EXACT)
    dut = bench.dut
    reset = Signal()

    async def interrupted(ctx):
        ctx.set(dut.oldest, 1)
        ctx.set(dut.jobs[0].last_row, 39)
        await ctx.tick()
        ctx.set(dut.request, 1)
        await ctx.tick().repeat(25)
        ctx.set(dut.request, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for _ in range(60):
            assert not ctx.get(dut.acc_read_valid)
            assert not ctx.get(dut.row_valid)
            assert not ctx.get(dut.done)
            await ctx.tick()
        await bench.run(ctx)

    simulate(ResetInserter(reset)(dut), interrupted, budget=budget_for(bench) + 100)


def test_thresholds_of_the_bench_are_the_reference_ones(rng):
    acts = rng.integers(-127, 128, (1, 80)).astype(np.int8)
    magnitude = np.abs(acts.astype(int))
    exact = next(t for t in range(128) if (magnitude > t).sum() <= 20)
    assert TopN(mode=ThresholdMode.EXACT, winners=20).threshold(acts)[0] == exact
