from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from jpnet_hw.beat_units import BeatUnits
from jpnet_spec.config import AcceleratorConfig

shared_beat_units = lru_cache(maxsize=4)(BeatUnits)

UNIT_BYTES = 8


@pytest.mark.parametrize("width", [32, 64, 128, 512])
@pytest.mark.parametrize("source", [0, 0.5])
@pytest.mark.parametrize("sink", [0, 0.5, 0.9])
def test_units_are_the_bytes_of_the_beats_in_order(simulate, rng, width, source, sink):
    dut = shared_beat_units(replace(AcceleratorConfig(), axi_data_width=width, act_word=64))
    size = width // 8
    sent = rng.integers(0, 256, 64 * max(size, UNIT_BYTES), dtype=np.uint8).tobytes()
    beats = [sent[place : place + size] for place in range(0, len(sent), size)]
    units = len(sent) // UNIT_BYTES

    async def bench(ctx):
        got, cycles, offered = b"", 0, False
        while len(got) < len(sent):
            offered = bool(beats) and (offered or rng.random() >= source)
            ctx.set(dut.i.valid, int(offered))
            if offered:
                ctx.set(dut.i.payload, int.from_bytes(beats[0], "little"))
            ready = ctx.get(dut.i.ready)
            ctx.set(dut.o.ready, int(rng.random() >= sink))
            assert ctx.get(dut.i.ready) == ready, "ready must not depend on the taker's"
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                got += ctx.get(dut.o.payload).to_bytes(UNIT_BYTES, "little")
            if offered and ready:
                beats.pop(0)
                offered = False
            await ctx.tick()
            cycles += 1
        assert got == sent
        if not source and not sink:
            assert cycles == max(units, len(sent) // size) + 1, "a cycle of latency, no gaps"

    simulate(dut, bench, budget=10000)
