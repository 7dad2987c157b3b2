import pytest

from jpnet_hw.word_queues import WordQueues
from jpnet_spec.config import AcceleratorConfig


@pytest.mark.parametrize("contexts", [1, 2, 4])
@pytest.mark.parametrize(("write", "read"), [(1, 1), (0.5, 1), (1, 0.4), (0.6, 0.6)])
def test_each_context_is_a_queue_and_the_oldest_comes_first(simulate, rng, contexts, write, read):
    depth = 4
    dut = WordQueues(AcceleratorConfig(contexts=contexts), shape=8, depth=depth)
    queues = [[] for _ in range(contexts)]
    oldest = 0

    async def bench(ctx):
        nonlocal oldest
        most = 0
        for _ in range(600):
            coming = int(rng.integers(contexts)) if rng.random() < 0.05 else oldest
            ctx.set(dut.oldest, 1 << coming)
            context, value = int(rng.integers(contexts)), int(rng.integers(256))
            writes = len(queues[context]) < depth and rng.random() < write
            ctx.set(dut.w_en, int(writes))
            ctx.set(dut.w_context, context)
            ctx.set(dut.w_data, value)
            takes = rng.random() < read
            ctx.set(dut.r_en, int(takes))
            filled = [(oldest + age) % contexts for age in range(contexts)]
            first = next((owner for owner in filled if queues[owner]), None)
            assert ctx.get(dut.r_valid) == (first is not None)
            if first is not None:
                assert (ctx.get(dut.r_context), ctx.get(dut.r_data)) == (first, queues[first][0])
                if takes:
                    queues[first].pop(0)
            if writes:
                queues[context].append(value)
            most = max(most, *map(len, queues))
            await ctx.tick()
            oldest = coming
        if read < write:
            assert most == depth

    simulate(dut, bench, budget=2000)
