from dataclasses import dataclass, replace
from functools import cache

import pytest

from jpnet_hw.map_walker import MapWalker
from jpnet_spec.config import AcceleratorConfig

shared_map_walker = cache(MapWalker)

CONFIG = AcceleratorConfig(
    lanes=4, clusters=4, act_word=8, act_depth=1024, acc_depth=512, pointer_depth=4096
)


@dataclass(frozen=True, kw_only=True)
class Map:
    """A tile of a convolution."""

    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride_log2: int = 0
    padding: tuple[int, int] = (0, 0)
    output: tuple[int, int]
    pooled: int = 0
    rows: int = 3
    first_block: int = 0
    blocks: int = 1
    packing: int = 0
    words_read: int | None = None

    def job(self, config):
        stride = 1 << self.stride_log2
        channel_rows = -(-self.channels // config.lanes)
        pixel_words = -(-channel_rows // config.act_columns)
        run_lists = -(-self.kernel[1] // stride)
        channel_lists = -(-self.kernel[0] // stride) * run_lists
        seen = (self.output[1] + run_lists - 1) * stride - self.padding[1]
        return {
            "convolution": 1,
            "base": 5,
            "tail": 0 if self.packing else channel_rows * config.lanes % config.act_word,
            "pixel_words": self.words_read or pixel_words,
            "source_pixel_gap": pixel_words - (self.words_read or pixel_words),
            "packing": self.packing,
            "pointer_base": 7,
            "channel_lists": channel_lists,
            "stride_log2": self.stride_log2,
            "pooled": self.pooled,
            "rows": self.rows,
            "line_rows": self.output[1] * self.rows,
            "kernel_height": self.kernel[0],
            "source_height": self.height,
            "source_width": min(self.width, seen),
            "source_row_words": -(-self.width >> self.packing) * pixel_words,
            "padding_top": self.padding[0],
            "padding_left": self.padding[1],
            "output_height": self.output[0],
            "last_column": self.output[1] - 1,
            "first_block": self.first_block,
            "blocks": self.blocks,
            "run_lists": run_lists,
            "phase_lists": channel_lists * (self.words_read or pixel_words) * config.act_word,
        }

    def words(self, config, cluster):
        """Return all words as the walk must offer them."""
        job, stride = self.job(config), 1 << self.stride_log2
        words = []
        for block in range(self.first_block, self.first_block + self.blocks):
            for lower in range(1 + self.pooled):
                y = (block * config.clusters + cluster) * (1 + self.pooled) + lower
                line = (block - self.first_block) * (1 + self.pooled) + lower
                if y >= self.output[0]:
                    continue
                for ky in range(self.kernel[0]):
                    source = y * stride + ky - self.padding[0]
                    if 0 <= source < self.height:
                        words += self.row_words(config, job, source, ky, line)
        return words

    def row_words(self, config, job, source, ky, line):
        words, stride, pixels = [], 1 << self.stride_log2, 1 << self.packing
        for x in range(0, job["source_width"], pixels):
            for word in range(job["pixel_words"]):
                lists = job["pointer_base"] + ky % stride * stride * job["phase_lists"]
                lists += word * config.act_word * job["channel_lists"]
                lists += ky // stride * job["run_lists"]
                address = job["base"] + source // config.clusters * job["source_row_words"]
                address += x // pixels * (job["pixel_words"] + job["source_pixel_gap"]) + word
                last = word == job["pixel_words"] - 1
                used = job["tail"] if last and job["tail"] else config.act_word
                if self.packing:
                    here = min(pixels, job["source_width"] - x)
                    used = here * (config.act_word // pixels)
                words.append(
                    {
                        "bank": source % config.clusters,
                        "address": address,
                        "lists": lists % 4096,
                        "line": line * self.output[1] * self.rows % config.acc_depth,
                        "column": x + self.padding[1],
                        "used": used,
                        "end": 0,
                    }
                )
        return words


def set_job(ctx, dut, job, cluster):
    for name, value in job.items():
        ctx.set(dut.job[name], value)
    ctx.set(dut.first_row, (job["first_block"] * CONFIG.clusters + cluster) << job["pooled"])


async def walk(ctx, dut, job, cluster, rng):
    """Return what a job offers, taken with pauses."""
    set_job(ctx, dut, job, cluster)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)
    words = []
    while True:
        assert ctx.get(dut.active)
        taken = ctx.get(dut.valid) and rng.random() < 0.8
        ctx.set(dut.taken, int(bool(taken)))
        if taken:
            word = {name: ctx.get(dut.o[name]) for name in dut.o.shape().members}
            words.append(word)
        await ctx.tick()
        ctx.set(dut.taken, 0)
        if taken and word["end"]:
            assert not ctx.get(dut.active)
            return words[:-1]


MAPS = {
    "plain": Map(channels=1, height=9, width=7, kernel=(3, 3), output=(7, 5), blocks=2),
    "padded": Map(
        channels=12, height=6, width=5, kernel=(3, 3), padding=(1, 1), output=(6, 5), blocks=2
    ),
    "pooled": Map(channels=9, height=12, width=4, kernel=(5, 3), output=(8, 2), pooled=1, blocks=1),
    "second_tile": Map(
        channels=4, height=20, width=3, kernel=(3, 1), output=(18, 3), first_block=2, blocks=3
    ),
    "stride_2": Map(
        channels=8,
        height=11,
        width=9,
        kernel=(3, 5),
        stride_log2=1,
        padding=(1, 2),
        output=(6, 5),
        blocks=2,
    ),
    "stride_4": Map(
        channels=3, height=19, width=19, kernel=(11, 11), stride_log2=2, output=(3, 3), blocks=1
    ),
    "right_edge_unused": Map(
        channels=5, height=4, width=8, kernel=(1, 1), stride_log2=2, output=(1, 2)
    ),
    "one_output": Map(channels=5, height=4, width=4, kernel=(4, 4), output=(1, 1)),
    "packed": Map(channels=1, height=9, width=28, kernel=(5, 5), output=(5, 24), packing=3),
    "packed_whole_words": Map(
        channels=2, height=5, width=8, kernel=(1, 3), output=(5, 6), packing=2, blocks=2
    ),
    "packed_stride_2": Map(
        channels=3,
        height=7,
        width=7,
        kernel=(3, 3),
        stride_log2=1,
        padding=(1, 1),
        output=(4, 4),
        packing=1,
    ),
    "packed_right_edge_unused": Map(
        channels=1, height=4, width=31, kernel=(1, 1), stride_log2=2, output=(1, 3), packing=3
    ),
    "one_word_of_three": Map(
        channels=24, height=6, width=5, kernel=(3, 3), padding=(1, 1), output=(6, 5), words_read=1
    ),
    "two_words_of_three": Map(
        channels=20, height=7, width=6, kernel=(3, 2), stride_log2=1, output=(3, 3), words_read=2
    ),
    "packed_one_pixel": Map(channels=1, height=3, width=1, kernel=(2, 1), output=(2, 1), packing=3),
}


@pytest.mark.parametrize("cluster", range(4))
@pytest.mark.parametrize("name", list(MAPS))
def test_a_tile_is_walked_row_by_row(simulate, rng, name, cluster):
    dut = shared_map_walker(CONFIG)

    async def bench(ctx):
        for _ in range(2):
            words = await walk(ctx, dut, MAPS[name].job(CONFIG), cluster, rng)
            assert words == MAPS[name].words(CONFIG, cluster)

    simulate(dut, bench, budget=8000)


@pytest.mark.parametrize("name", ["packed", "padded"])
def test_rows_of_an_output_row_follow_each_other_without_a_gap(simulate, name):
    shape = replace(MAPS[name], blocks=1)
    dut, job = shared_map_walker(CONFIG), shape.job(CONFIG)
    expected = len(shape.words(CONFIG, 1))

    async def bench(ctx):
        set_job(ctx, dut, job, 1)
        ctx.set(dut.start, 1)
        ctx.set(dut.taken, 0)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while not ctx.get(dut.valid):
            await ctx.tick()
        ctx.set(dut.taken, 1)
        for _ in range(expected):
            assert ctx.get(dut.valid)
            assert not ctx.get(dut.o.end)
            await ctx.tick()
        ctx.set(dut.taken, 0)
        await ctx.tick().until(dut.valid)
        assert ctx.get(dut.o.end)

    simulate(dut, bench, budget=300)
