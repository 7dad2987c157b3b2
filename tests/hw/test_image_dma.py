from collections import deque
from dataclasses import replace
from functools import cache

import pytest

from jpnet_hw.image_dma import ImageDma
from jpnet_spec.config import AcceleratorConfig

shared_image_dma = cache(ImageDma)

CONFIG = AcceleratorConfig()


@pytest.mark.parametrize(("built", "contexts"), [(1, 1), (2, 2), (4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("rows", [1, 2, 11])
@pytest.mark.parametrize(("idle", "stall"), [(0, 0), (0.5, 0.5)])
def test_every_image_reaches_its_context(simulate, rng, built, contexts, rows, idle, stall):
    config = replace(CONFIG, contexts=built)
    dut = shared_image_dma(config)
    base, count = 0x8000, 5
    beats = -(-rows // config.beat_rows)

    async def bench(ctx):
        for port, value in ((dut.base, base), (dut.count, count), (dut.rows, rows)):
            ctx.set(port, value)
        ctx.set(dut.in_flight, contexts)
        free, computing = [True] * contexts, [0] * contexts
        got = [[] for _ in range(contexts)]
        images, queue, offered = [[] for _ in range(contexts)], deque(), False
        ready = 0
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while sum(map(len, images)) < count:
            for context in range(contexts):
                ctx.set(dut.input_free[context], int(free[context]))
            ctx.set(dut.beats.ready, int(rng.random() >= stall))
            ctx.set(dut.transfers.ready, int(rng.random() >= stall))
            offered = bool(queue) and (offered or rng.random() >= idle)
            ctx.set(dut.i.valid, int(offered))
            ctx.set(dut.i.payload, queue[0] if queue else 0)
            if ctx.get(dut.transfers.valid) and ctx.get(dut.transfers.ready):
                assert ctx.get(dut.transfers.payload.beats) == beats
                address = ctx.get(dut.transfers.payload.address)
                queue += [address + config.beat_bytes * beat for beat in range(beats)]
            if ctx.get(dut.i.valid) and ctx.get(dut.i.ready):
                queue.popleft()
                offered = False
            ctx.set(dut.image_ready, ready)
            for context in range(contexts):
                if ready >> context & 1:
                    images[context].append(got[context])
                    got[context], free[context], computing[context] = [], False, 7
                elif not free[context]:
                    computing[context] -= 1
                    free[context] = computing[context] == 0
            ready = 0
            if ctx.get(dut.beats.valid) and ctx.get(dut.beats.ready):
                payload = dut.beats.payload
                context, beat = ctx.get(payload.context), ctx.get(payload.beat)
                assert free[context]
                assert ctx.get(payload.last) == (beat == beats - 1)
                got[context].append((beat, ctx.get(payload.data)))
                ready = (beat == beats - 1) << context
            await ctx.tick()
        for image in range(count):
            start = base + image * beats * config.beat_bytes
            expected = [(beat, start + config.beat_bytes * beat) for beat in range(beats)]
            assert images[image % contexts][image // contexts] == expected
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.transfers.valid)

    simulate(dut, bench, budget=800)
