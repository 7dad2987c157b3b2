from dataclasses import replace

import pytest
from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.places import (
    by_cluster,
    by_place,
    place_of_cluster,
    row_turns,
    turn_of,
    turns_of,
)
from jpnet_spec.config import AcceleratorConfig

SHAPES = [(1, 1), (1, 4), (2, 4), (4, 1), (4, 2), (4, 4), (8, 4), (64, 2)]


class Places(wiring.Component):
    """All that a context and the number of a window's row tell."""

    def __init__(self, config):
        self.config = config
        number = Out(range(max(2, config.clusters)))
        super().__init__(
            {
                "context": In(range(max(2, config.contexts))),
                "below": In(2),
                "values": In(7).array(config.clusters),
                "places": number.array(config.clusters),
                "turn": number,
                "of_places": Out(7).array(config.clusters),
                "of_clusters": Out(7).array(config.clusters),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # The simulator's clock needs a register.
        m.d.sync += Signal(name="clocked").eq(Cat(self.values).any())
        further = (self.turn + self.below)[: (config.clusters - 1).bit_length()]
        turned = by_place(m, self.values, Cat(further, 0), row_turns(config), name="place")
        back = by_cluster(m, self.values, self.turn, turns_of(config), name="cluster")
        m.d.comb += [
            self.turn.eq(turn_of(config, self.context)),
            *(out.eq(value) for out, value in zip(self.of_places, turned, strict=True)),
            *(out.eq(value) for out, value in zip(self.of_clusters, back, strict=True)),
        ]
        for cluster, place in enumerate(self.places):
            m.d.comb += place.eq(place_of_cluster(config, Const(cluster, 8), self.context))
        return m


@pytest.mark.parametrize(("clusters", "contexts"), SHAPES)
def test_values_turn_over_to_places_and_back(simulate, rng, clusters, contexts):
    config = replace(AcceleratorConfig(), clusters=clusters, contexts=contexts)
    dut = Places(config)

    async def bench(ctx):
        for context, turn in enumerate(config.turns):
            values = rng.integers(0, 128, clusters).tolist()
            ctx.set(dut.context, context)
            for port, value in zip(dut.values, values, strict=True):
                ctx.set(port, value)
            places = [(cluster + turn) % clusters for cluster in range(clusters)]
            assert [ctx.get(place) for place in dut.places] == places
            # The cluster that takes a place is so much further.
            for place in range(clusters):
                assert places[(place + ctx.get(dut.turn)) % clusters] == place
            assert [ctx.get(out) for out in dut.of_clusters] == [values[place] for place in places]
            for below in range(3):
                ctx.set(dut.below, below)
                owners = [(place + below - turn) % clusters for place in range(clusters)]
                assert [ctx.get(out) for out in dut.of_places] == [values[own] for own in owners]
            await ctx.tick()

    simulate(dut, bench, budget=20)
