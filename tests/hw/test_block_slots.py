from functools import cache

import pytest

from jpnet_hw.block_slots import BlockSlots
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SLOTS

shared_block_slots = cache(BlockSlots)


def config(contexts):
    return AcceleratorConfig(contexts=contexts)


async def pulse(ctx, signal, value=1):
    ctx.set(signal, value)
    await ctx.tick()
    ctx.set(signal, 0)


async def prepare(ctx, dut, blocks, in_flight):
    """Begin with both slots full, as after a load."""
    ctx.set(dut.streamed, 1)
    ctx.set(dut.in_flight, in_flight)
    ctx.set(dut.blocks, blocks)
    await pulse(ctx, dut.clear)
    for slot in range(SLOTS):
        await pulse(ctx, dut.loaded, 1 << slot)
    assert ctx.get(dut.free) == 0


class Memory:
    """The lanes' memories, and the loader that fills a free slot in a random time."""

    def __init__(self, rng, load_cycles):
        self.rng, self.load_cycles = rng, load_cycles
        self.held = list(range(SLOTS))  # block of each slot in the endless sequence
        self.loads, self.left = SLOTS, 0

    def step(self, free):
        """Return the slots that are full from now on."""
        slot = self.loads % SLOTS
        if self.left == 0:
            if free >> slot & 1:
                self.held[slot], self.left = None, int(self.rng.integers(1, self.load_cycles + 1))
            return 0
        self.left -= 1
        if self.left:
            return 0
        self.held[slot] = self.loads
        self.loads += 1
        return 1 << slot


class Context:
    """Uses the blocks of all its images, each for a random time."""

    def __init__(self, rng, number, *, contexts, images, blocks):
        self.rng = rng
        self.wanted, self.end = 0, len(range(number, images, contexts)) * blocks
        self.begun, self.delay = False, 0

    def step(self, memory, ready):
        """Return whether the block is finished in this cycle."""
        if self.begun:
            assert memory.held[self.wanted % SLOTS] == self.wanted, "a used block was replaced"
        if self.delay:
            self.delay -= 1
            return False
        finished, self.begun = self.begun, not self.begun and ready and self.wanted < self.end
        if self.begun:
            assert memory.held[self.wanted % SLOTS] == self.wanted, "the block was another one"
        self.wanted += finished
        self.delay = 5 if finished else int(self.rng.integers(30)) * self.begun
        return finished


async def run(ctx, dut, rng, *, contexts, blocks, images, load_cycles):
    """Play loader and contexts at random speeds; check who uses what when."""
    memory = Memory(rng, load_cycles)
    players = [
        Context(rng, number, contexts=contexts, images=images, blocks=blocks)
        for number in range(contexts)
    ]
    ctx.set(dut.count, images)
    await pulse(ctx, dut.start)
    await ctx.tick().repeat(2)
    quiet = 0
    while quiet < 6:
        ready = ctx.get(dut.ready)
        loaded = memory.step(ctx.get(dut.free))
        finished = [player.step(memory, ready >> n & 1) for n, player in enumerate(players)]
        ctx.set(dut.finished, sum(bit << number for number, bit in enumerate(finished)))
        ctx.set(dut.loaded, loaded)
        busy = memory.left or loaded or any(player.wanted < player.end for player in players)
        quiet = 0 if busy else quiet + 1
        await ctx.tick()
    assert ctx.get(dut.free) == 0
    assert memory.loads == -(-images // contexts) * blocks + SLOTS


@pytest.mark.parametrize(("built", "contexts"), [(1, 1), (2, 2), (4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("blocks", [2, 4, 6])
@pytest.mark.parametrize("load_cycles", [3, 80])
def test_every_image_uses_every_block_once(simulate, rng, built, contexts, blocks, load_cycles):
    dut = shared_block_slots(config(built))

    async def bench(ctx):
        await prepare(ctx, dut, blocks, contexts)
        for images in (1, contexts, contexts + 1, 3 * contexts - 1, 2):
            await run(
                ctx,
                dut,
                rng,
                contexts=contexts,
                blocks=blocks,
                images=images,
                load_cycles=load_cycles,
            )

    simulate(dut, bench, budget=60_000)


def test_resident_programs_never_wait(simulate):
    dut = shared_block_slots(config(4))

    async def bench(ctx):
        await pulse(ctx, dut.clear)
        ctx.set(dut.count, 9)
        await pulse(ctx, dut.start)
        await ctx.tick()
        for finished in (15, 1, 8, 0, 7):
            ctx.set(dut.finished, finished)
            assert ctx.get(dut.ready) == 15
            await ctx.tick()

    simulate(dut, bench, budget=64)


def test_ready_falls_in_the_cycle_after_the_block_is_finished(simulate):
    dut = shared_block_slots(config(2))

    async def bench(ctx):
        await prepare(ctx, dut, 2, 2)
        ctx.set(dut.count, 2)
        await pulse(ctx, dut.start)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.ready) == 3
        await pulse(ctx, dut.finished, 1)
        assert ctx.get(dut.ready) == 2
        await ctx.tick()
        assert ctx.get(dut.ready) == 3, "block 1 is there"
        await pulse(ctx, dut.finished, 1)
        await ctx.tick().repeat(4)
        assert ctx.get(dut.ready) == 2, "its next block is not"
        assert ctx.get(dut.free) == 0
        await pulse(ctx, dut.finished, 2)
        await ctx.tick()
        assert ctx.get(dut.free) == 1

    simulate(dut, bench, budget=64)


def test_a_new_program_empties_the_slots(simulate):
    dut = shared_block_slots(config(2))

    async def bench(ctx):
        await prepare(ctx, dut, 4, 2)
        await pulse(ctx, dut.clear)
        await ctx.tick()
        assert ctx.get(dut.free) == 3
        assert ctx.get(dut.ready) == 0

    simulate(dut, bench, budget=64)
