from functools import lru_cache, partial

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

KEPT = 10
PERIOD = 1e-8


class Simulation:
    """A compiled component that runs one test after the other, each from reset."""

    def __init__(self, dut, background):
        self.sim, self.fresh = Simulator(dut), True
        self.sim.add_clock(PERIOD)
        self.sim.add_testbench(self.watched)
        for place in range(background):
            self.sim.add_testbench(partial(self.beside, place), background=True)

    async def watched(self, ctx):
        await self.bench(ctx)
        self.finished = True

    async def beside(self, place, ctx):
        await self.background[place](ctx)

    def run(self, bench, background, budget):
        self.bench, self.background, self.finished = bench, background, False
        if not self.fresh:
            self.sim.reset()
        self.fresh = False
        for cycle in range(0, budget, 64):
            self.sim.run_until(PERIOD * (cycle + 64))
            if self.finished:
                return
        pytest.fail(f"cycle budget of {budget} spent")


# Most components take longer to compile than to run a test. A bench has up to nine of them.
simulation = lru_cache(maxsize=KEPT)(Simulation)


@pytest.fixture
def rng():
    return np.random.default_rng(30)


@pytest.fixture
def simulate():
    """Run a component's test benches until the first one ends; fail past the cycle budget.

    A component that comes again is not compiled again.
    """

    def run(dut, bench, *background, budget):
        simulation(dut, len(background)).run(bench, background, budget)

    return run


@pytest.fixture
def pass_items(simulate, rng):
    """Send items through a component with streams `i` and `o`, with pauses on both sides."""

    def run(dut, sent, *, count, source, sink, valid_registered=False):
        """Return the `count` items that came out, and the cycles that took.

        `source` and `sink` are the shares of cycles that the giver and the taker pause. `ready`
        must not depend on the taker's in the same cycle, nor `valid` on the giver's if that is
        told.
        """
        queue, got, cycles = list(sent), [], 0

        async def bench(ctx):
            nonlocal cycles
            offered = False
            while len(got) < count:
                valid = ctx.get(dut.o.valid)
                offered = bool(queue) and (offered or rng.random() >= source)
                ctx.set(dut.i.valid, int(offered))
                if offered:
                    ctx.set(Value.cast(dut.i.payload), queue[0])
                ready = ctx.get(dut.i.ready)
                ctx.set(dut.o.ready, int(rng.random() >= sink))
                assert ctx.get(dut.i.ready) == ready, "ready depends on the taker's"
                if valid_registered:
                    assert ctx.get(dut.o.valid) == valid, "valid is not from a register"
                if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                    got.append(ctx.get(Value.cast(dut.o.payload)))
                if offered and ready:
                    queue.pop(0)
                    offered = False
                await ctx.tick()
                cycles += 1

        simulate(dut, bench, budget=10000)
        return got, cycles

    return run
