import pytest

from jpnet_hw.job_order import JobOrder
from jpnet_spec.config import AcceleratorConfig


@pytest.mark.parametrize("contexts", [1, 2, 4])
def test_the_oldest_image_goes_first(simulate, rng, contexts):
    dut = JobOrder(AcceleratorConfig(contexts=contexts))

    async def bench(ctx):
        for _ in range(40):
            oldest = 1 << int(rng.integers(contexts))
            ctx.set(dut.oldest, oldest)
            ctx.set(dut.computing, int(rng.integers(2**contexts)))
            assert ctx.get(dut.first) == oldest
            await ctx.tick()

    simulate(dut, bench, budget=60)


@pytest.mark.parametrize("contexts", [1, 2, 4])
def test_a_job_keeps_its_turn_until_it_is_summed(simulate, rng, contexts):
    dut = JobOrder(AcceleratorConfig(contexts=contexts))

    async def bench(ctx):
        ctx.set(dut.in_turn, 1)
        ctx.set(dut.oldest, 1)
        first, turns = 0, set()
        for _ in range(300):
            computing = int(rng.integers(2**contexts)) | int(rng.integers(2**contexts))
            ctx.set(dut.computing, computing)
            assert ctx.get(dut.first) == 1 << first
            if computing and not computing >> first & 1:
                while not computing >> first & 1:
                    first = (first + 1) % contexts
                turns.add(first)
            await ctx.tick()
        assert contexts == 1 or turns == set(range(contexts))

    simulate(dut, bench, budget=400)


def test_a_restart_begins_with_the_first_context(simulate):
    dut = JobOrder(AcceleratorConfig(contexts=4))

    async def bench(ctx):
        ctx.set(dut.in_turn, 1)
        ctx.set(dut.computing, 4)
        await ctx.tick()
        assert ctx.get(dut.first) == 4
        ctx.set(dut.computing, 0)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        assert ctx.get(dut.first) == 1

    simulate(dut, bench, budget=60)
