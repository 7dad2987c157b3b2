from functools import lru_cache, partial

import numpy as np
import pytest
from amaranth.sim import Simulator

KEPT = 4
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


# Most components take longer to compile than to run a test.
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
