"""The dispatcher of a cluster: which group gets the next activation."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import group_token_layout, token_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["Dispatcher"]


class Dispatcher(wiring.Component):
    """Hand each activation to a group with room, in turn, so that the group free first gets it.

    One token per cycle from either context; contexts take turns when both have one. A token of
    divided inputs waits for its owner. An end of job goes to all groups at once, and while it
    waits no other token passes. No cycle of latency.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    i : in, one stream of tokens per context
        From the contexts' zero skippers.
    o : out, one stream of group tokens per group
        To the groups.
    blocked : out
        A token waits and none is handed over.
    """

    i: list[stream.Interface]
    o: list[stream.Interface]
    blocked: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(config))).array(config.contexts),
                "o": Out(stream.Signature(group_token_layout(config))).array(config.groups),
                "blocked": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        ready = Signal(config.groups)
        free = Signal(config.groups)
        m.d.comb += ready.eq(Cat(group.ready for group in self.o))
        turn = self._build_turn(m, ready, free)

        ends = Cat(source.valid & source.payload.last for source in self.i)
        able = Signal(config.contexts)
        chosen = Signal(config.contexts)
        favoured = Signal(config.contexts, init=1)
        for context, source in enumerate(self.i):
            token = source.payload
            owned = ready.bit_select(token.owner, 1)
            m.d.comb += able[context].eq(
                source.valid
                & (token.last | ~ends.any())
                & (~token.last | ready.all())
                & (token.last | (token.divided & owned) | (~token.divided & ready.any()))
            )
        preferred = Mux((able & favoured).any(), able & favoured, able)
        m.d.comb += chosen.eq(preferred & ~(preferred - 1))
        with m.If(chosen.any()):
            m.d.sync += favoured.eq(chosen)
        m.d.comb += self.blocked.eq(Cat(source.valid for source in self.i).any() & ~chosen.any())

        for context, source in enumerate(self.i):
            m.d.comb += source.ready.eq(chosen[context])
            with m.If(chosen[context]):
                self._build_targets(m, context, free)
        anywhere = Cat(~source.payload.last & ~source.payload.divided for source in self.i)
        with m.If((chosen & anywhere).any()):
            m.d.sync += turn.eq(free.rotate_left(1))
        return m

    def _build_turn(self, m: Module, ready: Signal, free: Signal) -> Signal:
        """Choose, one-hot, the first ready group from the one whose turn it is."""
        groups = self._config.groups
        turn = Signal(groups, init=1)
        doubled = Signal(2 * groups)
        first = Signal(2 * groups)
        m.d.comb += [
            doubled.eq(Cat(ready, ready)),
            first.eq(doubled & ~(doubled - turn)),
            free.eq(first[:groups] | first[groups:]),
        ]
        return turn

    def _build_targets(self, m: Module, context: int, free: Signal) -> None:
        token = self.i[context].payload
        owner_width = exact_log2(self._config.groups)
        for number, target in enumerate(self.o):
            owned = token.owner[:owner_width] == number if owner_width else 1
            wanted = token.last | (token.divided & owned) | (~token.divided & free[number])
            m.d.comb += [
                target.valid.eq(wanted),
                target.payload.act.eq(token.act),
                target.payload.pointer.eq(token.pointer),
                target.payload.context.eq(context),
                target.payload.last.eq(token.last),
            ]
