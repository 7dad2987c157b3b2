"""Whose job goes first."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.arbitration import first_from
from jpnet_spec.config import AcceleratorConfig

__all__ = ["JobOrder"]


class JobOrder(wiring.Component):
    """Name the context that goes first wherever images compete; those after it follow in turn.

    With all images in flight it is that of the oldest one. Where lists are streamed, images share
    each block and none can be more than a block ahead; where fewer images are in flight, their jobs
    are long and nothing would compute while the oldest image and another one drain. There a context
    goes first until all of its job's products are summed, and then another one that computes.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    restart : in
        Pulse: the first context goes first.
    in_turn : in
        Level: contexts go first in turn; held stable.
    oldest : in, one bit a context
        The context of the oldest image.
    computing : in, one bit a context
        Levels: products are being summed.
    first : out, one bit a context
        In turn, a cycle after `computing`.
    """

    restart: Signal
    in_turn: Signal
    oldest: Signal
    computing: Signal
    first: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._contexts = config.contexts
        super().__init__(
            {
                "restart": In(1),
                "in_turn": In(1),
                "oldest": In(config.contexts),
                "computing": In(config.contexts),
                "first": Out(config.contexts),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first = Signal(self._contexts, init=1)
        m.d.comb += self.first.eq(Mux(self.in_turn, first, self.oldest))
        with m.If(self.computing.any() & ~(self.computing & first).any()):
            m.d.sync += first.eq(first_from(self.computing, first))
        with m.If(self.restart):
            m.d.sync += first.eq(1)
        return m
