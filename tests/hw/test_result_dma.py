from dataclasses import replace

import pytest

from jpnet_hw.result_dma import ResultDma
from jpnet_spec.config import AcceleratorConfig

LATENCY = 4


@pytest.mark.parametrize("contexts", [1, 2, 4])
@pytest.mark.parametrize("act_word", [8, 32])
@pytest.mark.parametrize(("stall", "answer"), [(0, 3), (0.6, 20)])
def test_every_result_is_written_in_order(simulate, rng, contexts, act_word, stall, answer):
    config = replace(AcceleratorConfig(), contexts=contexts, act_word=act_word)
    dut = ResultDma(config, read_latency=LATENCY)
    base, words, count = 0x100, 3, 4
    beats = words * act_word // config.beat_bytes
    results = [[rng.bytes(act_word) for _ in range(words)] for _ in range(count)]

    async def bench(ctx):
        ctx.set(dut.base, base)
        ctx.set(dut.words, words)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        holds = list(range(contexts))
        pipe = [0] * LATENCY
        written, transfers, sent, waiting = 0, [], [], 0
        while written < count:
            for context in range(contexts):
                ctx.set(dut.result_valid[context], int(holds[context] < count))
                if holds[context] < count:
                    word = results[holds[context]][pipe[0] % words]
                    ctx.set(dut.result_data[context], int.from_bytes(word, "little"))
            ctx.set(dut.transfers.ready, int(rng.random() >= stall))
            ctx.set(dut.o.ready, int(bool(transfers) and rng.random() >= stall))
            ctx.set(dut.writer_idle, int(waiting == 0))
            pipe = [*pipe[1:], ctx.get(dut.result_word)]
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
        stride = words * act_word
        assert transfers == [(base + stride * image, beats) for image in range(count)]
        assert b"".join(sent) == b"".join(b"".join(result) for result in results)

    simulate(dut, bench, budget=1500)
