from dataclasses import replace
from functools import cache

import pytest

from jpnet_hw.result_dma import ResultDma
from jpnet_spec.config import AcceleratorConfig

shared_result_dma = cache(ResultDma)

LATENCY = 4


@pytest.mark.parametrize(("built", "contexts"), [(1, 1), (2, 2), (4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("lanes", [1, 4, 8])
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize(("stall", "answer"), [(0, 3), (0.6, 20)])
def test_every_result_is_written_in_order(
    simulate, rng, built, contexts, lanes, rows, stall, answer
):
    config = replace(AcceleratorConfig(), contexts=built, lanes=lanes)
    dut = shared_result_dma(config, read_latency=LATENCY)
    base, count = 0x100, 4
    beats = -(-rows // config.beat_rows)
    results = [[rng.bytes(lanes) for _ in range(rows)] for _ in range(count)]

    async def bench(ctx):
        ctx.set(dut.base, base)
        ctx.set(dut.rows, rows)
        ctx.set(dut.in_flight, contexts)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        holds = list(range(contexts))
        pipe = [(0, -1)] * LATENCY
        written, transfers, sent, waiting = 0, [], [], 0
        while written < count:
            for context in range(contexts):
                ctx.set(dut.result_valid[context], int(holds[context] < count))
            context, row = pipe[0]
            data = b"\xee" * lanes
            if 0 <= row < rows and holds[context] < count:
                data = results[holds[context]][row]
            ctx.set(dut.result_data, int.from_bytes(data, "little"))
            ctx.set(dut.transfers.ready, int(rng.random() >= stall))
            ctx.set(dut.o.ready, int(bool(transfers) and rng.random() >= stall))
            ctx.set(dut.writer_idle, int(waiting == 0))
            granted = rng.random() >= stall
            ctx.set(dut.result_granted, int(granted))
            row = ctx.get(dut.result_row) if ctx.get(dut.result_read) and granted else -1
            pipe = [*pipe[1:], (ctx.get(dut.result_context), row)]
            written += ctx.get(dut.written)
            for context in range(contexts):
                assert ctx.get(dut.image[context]) == holds[context]
            done = ctx.get(dut.result_done)
            if ctx.get(dut.transfers.valid) and ctx.get(dut.transfers.ready):
                payload = dut.transfers.payload
                transfers.append((ctx.get(payload.address), ctx.get(payload.beats)))
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                sent.append(ctx.get(dut.o.payload).to_bytes(config.beat_bytes, "little"))
                waiting = answer
            elif waiting:
                waiting -= 1
            await ctx.tick()
            for context in range(contexts):
                holds[context] += contexts * (done >> context & 1)
        stride = beats * config.beat_bytes
        assert transfers == [(base + stride * image, beats) for image in range(count)]
        assert b"".join(sent) == b"".join(
            b"".join(result).ljust(stride, b"\0") for result in results
        )

    simulate(dut, bench, budget=1500)
