"""Which blocks of streamed lists are in the lanes' memories, and which image uses which."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SLOTS

__all__ = ["BlockSlots"]


class BlockSlots(wiring.Component):
    """Let contexts use a block once it is loaded, and free its slot when the last one has.

    Image i runs in context ``i % in_flight``; as many images as are in flight are a group, and
    each of them uses every block once, in order. Block b is in slot ``b % SLOTS``. Every load of
    a slot toggles its generation, so that a context that is a block ahead waits for its own.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    clear : in
        Pulse: both slots are empty.
    streamed : in
        Level: the program has a stream; otherwise all contexts are always ready.
    blocks, in_flight : in
        Blocks of the stream, even, and images in flight; held stable.
    start, count : in
        Pulse at the beginning of a run of that many images, while slots 0 and 1 hold blocks 0 and
        1 and no context uses one.
    loaded : in, one bit a slot
        Pulse: the slot holds its next block.
    finished : in, one bit a context
        Pulse: the context reads its block no more.
    ready : out, one bit a context
        Level: the context's block is in its slot. Falls in the cycle after `finished`, rises at the
        earliest two cycles after it.
    free : out, one bit a slot
        Level: the slot may be loaded.
    """

    clear: Signal
    streamed: Signal
    blocks: Signal
    in_flight: Signal
    start: Signal
    count: Signal
    loaded: Signal
    finished: Signal
    ready: Signal
    free: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "clear": In(1),
                "streamed": In(1),
                "blocks": In(range(config.program_depth + 2)),
                "in_flight": In(range(config.contexts + 1)),
                "start": In(1),
                "count": In(32),
                "loaded": In(SLOTS),
                "finished": In(config.contexts),
                "ready": Out(config.contexts),
                "free": Out(SLOTS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        full, generation = Signal(SLOTS), Signal(SLOTS)
        place, wanted = (Signal(self._config.contexts, name=name) for name in ("place", "wanted"))
        used = [Signal(self._config.contexts, name=f"used_{slot}") for slot in range(SLOTS)]
        released = self._build_release(m, used)
        m.d.comb += self.free.eq(~full)
        m.d.sync += [
            full.eq((full | self.loaded) & ~released),
            generation.eq(generation ^ self.loaded),
        ]
        for context in range(self._config.contexts):
            here, finished = place[context], self.finished[context]
            present = full.bit_select(here, 1)
            fresh = generation.bit_select(here, 1) == wanted[context]
            m.d.sync += self.ready[context].eq(~self.streamed | (present & fresh & ~finished))
            for slot in range(SLOTS):
                mark = finished & (here == slot)
                m.d.sync += used[slot][context].eq((used[slot][context] | mark) & ~released[slot])
            with m.If(finished):
                m.d.sync += [
                    place[context].eq(~here),
                    wanted[context].eq(wanted[context] ^ here),
                ]
        with m.If(self.start | self.clear):
            m.d.sync += [generation.eq(0), place.eq(0), wanted.eq(0)]
            m.d.sync += [slot.eq(0) for slot in used]
        with m.If(self.clear):
            m.d.sync += full.eq(0)
        return m

    def _build_release(self, m: Module, used: list[Signal]) -> Signal:
        """Return pulses for slots whose block all images of its group have used, oldest first."""
        contexts = self._config.contexts
        slot, block = Signal(), Signal.like(self.blocks)
        left = Signal(32)
        needed, released = Signal(contexts), Signal(SLOTS)
        done = Mux(slot, used[1], used[0])
        complete = needed.any() & (~needed | done).all()
        # A cycle late: it only shrinks during a run, and a slot just freed is used by nobody.
        m.d.sync += needed.eq(
            Cat((left > context) & (self.in_flight > context) for context in range(contexts))
        )
        m.d.comb += released.eq(Mux(complete, 1 << slot, 0))
        with m.If(self.start | self.clear):
            m.d.sync += [slot.eq(0), block.eq(0), left.eq(Mux(self.clear, 0, self.count))]
        with m.Elif(complete):
            m.d.sync += [slot.eq(~slot), block.eq(block + 1)]
            with m.If(block == self.blocks - 1):
                m.d.sync += [
                    block.eq(0),
                    left.eq(Mux(left > self.in_flight, left - self.in_flight, 0)),
                ]
        return released
