"""Whose job goes first."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.arbitration import first_from
from jpnet_spec.config import AcceleratorConfig

__all__ = ["JobOrder"]


class JobOrder(wiring.Component):
    """Name the context that goes first wherever images compete; those after it follow in turn.

    Of a resident program it is that of the oldest image. Where lists are streamed, images share
    each block and none can be more than a block ahead, so a context goes first until all of its
    job's products are summed, and then another one that computes.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    streamed : in
        Level: the program has a stream. Read a cycle late.
    oldest : in, one bit a context
        The context of the oldest image.
    computing : in, one bit a context
        Levels: products are being summed.
    first : out, one bit a context
        Of a streamed program, a cycle after `computing`.
    """

    streamed: Signal
    oldest: Signal
    computing: Signal
    first: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._contexts = config.contexts
        super().__init__(
            {
                "streamed": In(1),
                "oldest": In(config.contexts),
                "computing": In(config.contexts),
                "first": Out(config.contexts),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first = Signal(self._contexts, init=1)
        streamed = Signal()
        m.d.sync += streamed.eq(self.streamed)
        m.d.comb += self.first.eq(Mux(streamed, first, self.oldest))
        with m.If(self.computing.any() & ~(self.computing & first).any()):
            m.d.sync += first.eq(first_from(self.computing, first))
        return m
