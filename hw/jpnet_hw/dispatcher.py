"""The dispatcher of a cluster: which group gets the next activation."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.arbitration import first_from, place_of
from jpnet_hw.layouts import group_token_layout, token_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["Dispatcher"]


class Dispatcher(wiring.Component):
    """Hand activations to groups with room, up to one a cycle to each group and of each context.

    In every cycle each context faces one group and hands its token over if the group has room; in
    the next cycle it faces the next group. So a group that is free early gets more, no two
    contexts wait for each other's choice, and no choice is long. Where several contexts face one
    group, the oldest image comes first: an image is finished as early as it can be, and the
    younger ones use what it leaves free. A token of divided inputs waits for its owner. An end of
    job goes to every group in turn. No cycle of latency.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    i : in, one stream of tokens per context
        From the contexts' zero skippers.
    oldest : in, one bit per context
        The context of the oldest image; those after it, in turn, hold the younger ones.
    o : out, one stream of group tokens per group
        To the groups.
    blocked : out
        A token waits and none is handed over.
    """

    i: list[stream.Interface]
    oldest: Signal
    o: list[stream.Interface]
    blocked: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(token_layout(config))).array(config.contexts),
                "oldest": In(config.contexts),
                "o": Out(stream.Signature(group_token_layout(config))).array(config.groups),
                "blocked": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        contexts = range(config.contexts)
        turn = Signal(config.groups, init=1)
        m.d.sync += turn.eq(turn.rotate_left(1))
        taken = [Signal(config.groups, name=f"taken_{context}") for context in contexts]
        wanted = [
            self._build_wanted(
                m, context, turn.rotate_left(context % config.groups), taken[context]
            )
            for context in contexts
        ]
        for group, target in enumerate(self.o):
            chosen = Signal(config.contexts, name=f"chosen_{group}")
            requests = Signal(config.contexts, name=f"requests_{group}")
            m.d.comb += [
                requests.eq(Cat(wanted[context][group] for context in contexts)),
                chosen.eq(first_from(m, requests, self.oldest, name=f"group_{group}")),
                target.valid.eq(requests.any()),
                target.payload.context.eq(place_of(chosen)),
            ]
            for name in ("act", "pointer", "last"):
                m.d.comb += target.payload[name].eq(
                    reduce(
                        or_,
                        (
                            Mux(chosen[context], source.payload[name], 0)
                            for context, source in enumerate(self.i)
                        ),
                    )
                )
            for context in contexts:
                m.d.comb += taken[context][group].eq(chosen[context] & target.ready)
        waiting = Cat(source.valid for source in self.i).any()
        m.d.comb += self.blocked.eq(waiting & ~Cat(taken).any())
        return m

    def _build_wanted(self, m: Module, context: int, faced: Value, taken: Signal) -> Signal:
        """Return which group may take the context's token now; answer the token's source."""
        config = self._config
        source = self.i[context]
        token = source.payload
        owner_width = exact_log2(config.groups)
        told = Signal(config.groups, name=f"told_{context}")
        wanted = Signal(config.groups, name=f"wanted_{context}")
        owner = Const(1, config.groups)
        if owner_width:
            owner = (Const(1, config.groups) << token.owner[:owner_width])[: config.groups]
        anyone = Mux(token.divided, owner, -1)
        m.d.comb += [
            wanted.eq(Mux(source.valid, faced & Mux(token.last, ~told, anyone), 0)),
            source.ready.eq(taken.any() & (~token.last | (told | taken).all())),
        ]
        with m.If(source.valid & source.ready):
            m.d.sync += told.eq(0)
        with m.Elif(token.last):
            m.d.sync += told.eq(told | taken)
        return wanted
