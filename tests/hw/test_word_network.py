from dataclasses import replace
from functools import cache

import pytest

from jpnet_hw.word_network import WordNetwork
from jpnet_spec.config import AcceleratorConfig

shared_word_network = cache(WordNetwork)

CONFIG = AcceleratorConfig(clusters=4, act_depth=64)


def content(bank, address):
    """Return what a bank holds."""
    return bank << 16 | address


@pytest.mark.parametrize("clusters", [1, 2, 4])
@pytest.mark.parametrize("hold", [0, 0.4])
def test_every_skipper_gets_the_words_it_asks_for(simulate, rng, clusters, hold):
    config = replace(CONFIG, clusters=clusters)
    dut = shared_word_network(config)
    asked = [None] * clusters
    coming = {}
    served = [0] * clusters

    async def bench(ctx):
        answers = [0] * clusters
        for cycle in range(600):
            for bank in range(clusters):
                ctx.set(dut.r_word[bank], answers[bank])
                answers[bank] = content(bank, ctx.get(dut.r_address[bank]))
            held = rng.random() < hold
            ctx.set(dut.hold, int(held))
            ctx.set(dut.held_address, 63)
            for skipper in range(clusters):
                if asked[skipper] is None and rng.random() < 0.7:
                    asked[skipper] = int(rng.integers(clusters)), int(rng.integers(200))
                ctx.set(dut.asks[skipper].banks, 0)
                if asked[skipper]:
                    ctx.set(dut.asks[skipper].banks, 1 << asked[skipper][0])
                    ctx.set(dut.asks[skipper].address, asked[skipper][1])
            granted = ctx.get(dut.granted)
            wanted = {ask[0] for ask in asked if ask is not None}
            assert granted.bit_count() == (0 if held else len(wanted))
            for skipper in range(clusters):
                if (cycle, skipper) in coming:
                    assert ctx.get(dut.words[skipper]) == coming.pop((cycle, skipper))
                if granted >> skipper & 1:
                    coming[cycle + dut.LATENCY, skipper] = content(*asked[skipper])
                    asked[skipper] = None
                    served[skipper] += 1
            await ctx.tick()

    simulate(dut, bench, budget=800)
    assert min(served) > 60


def test_skippers_of_one_bank_take_turns(simulate):
    dut = shared_word_network(CONFIG)
    order = []

    async def bench(ctx):
        for skipper in (0, 1, 3):
            ctx.set(dut.asks[skipper].banks, 1 << 2)
        for _ in range(6):
            order.append(ctx.get(dut.granted))
            await ctx.tick()

    simulate(dut, bench, budget=100)
    assert order == [1, 2, 8, 1, 2, 8]


def test_a_restart_begins_with_the_first_skipper(simulate):
    dut = shared_word_network(CONFIG)

    async def bench(ctx):
        for skipper in range(4):
            ctx.set(dut.asks[skipper].banks, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.granted) == 4
        ctx.set(dut.restart, 1)
        await ctx.tick()
        assert ctx.get(dut.granted) == 1

    simulate(dut, bench, budget=100)
