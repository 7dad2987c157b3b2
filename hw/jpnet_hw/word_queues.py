"""Queues of several contexts in one small memory."""

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.arbitration import first_from, place_of
from jpnet_hw.layouts import context_shape
from jpnet_spec.config import AcceleratorConfig

__all__ = ["WordQueues"]


class WordQueues(wiring.Component):
    """One queue a context; what is read is the first entry of the oldest image that has one.

    One entry written and one read per cycle; what is written may be read in the next cycle. The
    writer sees to it that no queue overflows.

    Parameters
    ----------
    config
        The accelerator.
    shape
        Of an entry.
    depth
        Entries a context; a power of two.

    Members
    -------
    oldest : in, one bit per context
        The context of the oldest image, in the next cycle; those after it, in turn, hold the
        younger ones.
    w_en, w_context, w_data : in
        Write an entry.
    r_valid, r_context, r_data : out
        The entry to be read.
    r_en : in
        Take it, if there is one.
    """

    oldest: Signal
    w_en: Signal
    w_context: Signal
    w_data: Signal
    r_valid: Signal
    r_context: Signal
    r_data: Signal
    r_en: Signal

    def __init__(self, config: AcceleratorConfig, *, shape: ShapeLike, depth: int) -> None:
        self._config = config
        self._shape = shape
        self._depth = depth
        super().__init__(
            {
                "oldest": In(config.contexts),
                "w_en": In(1),
                "w_context": In(context_shape(config)),
                "w_data": In(shape),
                "r_valid": Out(1),
                "r_context": Out(context_shape(config)),
                "r_data": Out(shape),
                "r_en": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        contexts, depth = self._config.contexts, self._depth
        entries: memory.Memory = memory.Memory(shape=self._shape, depth=contexts * depth, init=[])
        m.submodules.entries = entries
        write, read = entries.write_port(), entries.read_port(domain="comb")
        pointer_bits = exact_log2(depth)
        w_place, r_place = Signal(pointer_bits), Signal(pointer_bits)
        # Which entry is read is chosen a cycle ahead, for an entry that is taken and for none:
        # the choice, the memory and what follows are a long path by themselves.
        chosen = Signal(contexts)
        after_taken, after_none = (
            Signal(contexts, name=f"after_{event}") for event in ("taken", "none")
        )
        choice = Signal(contexts)
        for context in range(contexts):
            head = Signal(pointer_bits, name=f"head_{context}")
            tail = Signal(pointer_bits, name=f"tail_{context}")
            level = Signal(range(depth + 1), name=f"level_{context}")
            written = self.w_en & (self.w_context == context)
            taken = self.r_en & chosen[context]
            m.d.comb += [
                after_none[context].eq(written | (level != 0)),
                after_taken[context].eq(written | (level > 1) | ((level == 1) & ~chosen[context])),
            ]
            m.d.sync += [
                tail.eq(tail + written),
                head.eq(head + taken),
                level.eq(level + written - taken),
            ]
            with m.If(self.w_context == context):
                m.d.comb += w_place.eq(tail)
            with m.If(chosen[context]):
                m.d.comb += r_place.eq(head)
        m.d.comb += choice.eq(
            Mux(
                self.r_en,
                first_from(after_taken, self.oldest),
                first_from(after_none, self.oldest),
            )
        )
        m.d.sync += [
            chosen.eq(choice),
            self.r_valid.eq(choice.any()),
            self.r_context.eq(place_of(choice)),
        ]

        def address(place: Value, context: Value) -> Value:
            return Cat(place, context[: exact_log2(contexts)])

        m.d.comb += [
            write.en.eq(self.w_en),
            write.addr.eq(address(w_place, self.w_context)),
            write.data.eq(self.w_data),
            read.addr.eq(address(r_place, self.r_context)),
            self.r_data.eq(read.data),
        ]
        return m
