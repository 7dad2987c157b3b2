"""The dispatcher of a cluster: which group gets the next activation."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.arbitration import first_from
from jpnet_hw.layouts import group_token_layout, token_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["Dispatcher"]


class Dispatcher(wiring.Component):
    """Hand each activation to a group with room, in turn, so that the group free first gets it.

    One token per cycle. A token of divided inputs waits for its owner. An end of job goes to all
    groups at once. No cycle of latency.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    restart : in
        Pulse without tokens: the first group's turn is next.
    i : in, stream of tokens
        From the zero skipper.
    o : out, one stream of group tokens per group
        To the groups.
    blocked : out
        A token waits and is not handed over.
    """

    restart: Signal
    i: stream.Interface
    o: list[stream.Interface]
    blocked: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "restart": In(1),
                "i": In(stream.Signature(token_layout(config))),
                "o": Out(stream.Signature(group_token_layout(config))).array(config.groups),
                "blocked": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        groups = self._config.groups
        token = self.i.payload
        ready, turn, free = Signal(groups), Signal(groups, init=1), Signal(groups)
        owner, targets = Signal(groups), Signal(groups)
        m.d.comb += [
            ready.eq(Cat(group.ready for group in self.o)),
            free.eq(first_from(ready, turn)),
            owner.eq(1 << token.owner[: exact_log2(groups)] if groups > 1 else 1),
            targets.eq(free),
        ]
        with m.If(token.divided):
            m.d.comb += targets.eq(owner & ready)
        with m.If(token.last):
            m.d.comb += targets.eq(ready.all().replicate(groups))
        m.d.comb += [
            self.i.ready.eq(targets.any()),
            self.blocked.eq(self.i.valid & ~targets.any()),
        ]
        with m.If(self.i.valid & ~token.last & ~token.divided & ready.any()):
            m.d.sync += turn.eq(free.rotate_left(1))
        with m.If(self.restart):
            m.d.sync += turn.eq(1)
        for number, target in enumerate(self.o):
            m.d.comb += target.valid.eq(self.i.valid & targets[number])
            for name in ("act", "pointer", "stop", "base", "context", "last"):
                m.d.comb += target.payload[name].eq(token[name])
        return m
