import numpy as np
import pytest
from amaranth.sim import Simulator


@pytest.fixture
def rng():
    return np.random.default_rng(30)


@pytest.fixture
def simulate():
    """Run a component's test benches until the first one ends; fail past the cycle budget."""

    def run(dut, bench, *background, budget):
        finished = False

        async def watched(ctx):
            nonlocal finished
            await bench(ctx)
            finished = True

        sim = Simulator(dut)
        sim.add_clock(1e-8)
        sim.add_testbench(watched)
        for other in background:
            sim.add_testbench(other, background=True)
        for cycle in range(0, budget, 64):
            sim.run_until(1e-8 * (cycle + 64))
            if finished:
                return
        pytest.fail(f"cycle budget of {budget} spent")

    return run
