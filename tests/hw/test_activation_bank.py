import numpy as np
import pytest

from jpnet_hw.activation_bank import ActivationBank, beat_rows
from jpnet_spec.config import AcceleratorConfig

CONFIGS = [
    AcceleratorConfig(clusters=4, act_depth=32, act_word=16),
    AcceleratorConfig(clusters=1, act_depth=8, act_word=16),
    AcceleratorConfig(clusters=1, act_depth=8, lanes=8, act_word=16),
    AcceleratorConfig(clusters=2, act_depth=32, lanes=1, act_word=8),
    AcceleratorConfig(clusters=2, act_depth=8, act_word=16, axi_data_width=128),
]


async def read_all(ctx, dut, config):
    words = []
    for address in range(config.act_depth + dut.LATENCY):
        ctx.set(dut.r_address, address % config.act_depth)
        if address >= dut.LATENCY:
            word = ctx.get(dut.r_word)
            words.append(list(word.to_bytes(config.act_word, "little")))
        await ctx.tick()
    return words


@pytest.mark.parametrize("config", CONFIGS)
def test_rows_and_beats_share_the_memory_and_rows_never_wait(simulate, rng, config):
    dut = ActivationBank(config)
    half = config.act_depth // 2
    model = np.zeros((config.act_depth, config.act_word), dtype=int)
    waited = 0

    async def bench(ctx):
        nonlocal waited
        width = beat_rows(config) * config.lanes
        beats = [
            (address, share) for address in range(half) for share in range(config.act_word // width)
        ]
        rows = [
            (address, column)
            for address in range(half, config.act_depth)
            for column in range(config.act_columns)
        ]
        while beats or rows:
            ctx.set(dut.row_valid, 0)
            ctx.set(dut.beats.valid, 0)
            if rows and rng.integers(4):
                address, column = rows.pop(0)
                acts = rng.integers(0, 256, config.lanes)
                model[address, column * config.lanes :][: config.lanes] = acts
                ctx.set(dut.row_valid, 1)
                ctx.set(dut.row_address, address)
                ctx.set(dut.row_column, column)
                ctx.set(dut.row_data, int.from_bytes(bytes(acts.tolist()), "little"))
            if beats:
                address, share = beats[0]
                data = rng.integers(0, 256, width)
                ctx.set(dut.beats.valid, 1)
                ctx.set(dut.beats.payload.address, address)
                ctx.set(dut.beats.payload.share, share)
                ctx.set(dut.beats.payload.rows, int.from_bytes(bytes(data.tolist()), "little"))
                if ctx.get(dut.beats.ready):
                    model[address, share * width :][:width] = data
                    beats.pop(0)
                else:
                    waited += 1
            await ctx.tick()
        ctx.set(dut.row_valid, 0)
        ctx.set(dut.beats.valid, 0)
        await ctx.tick()
        assert await read_all(ctx, dut, config) == model.tolist()

    simulate(dut, bench, budget=1000)
    assert waited > 0
