"""From words with survivors to tokens."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import context_shape, struct_signal, token_layout
from jpnet_hw.word_walker import skip_job_layout, word_place_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["TokenBuilder", "without_lowest", "word_layout"]


def word_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return a word's activations, which survive, whether more than one, and what they meet."""
    place = word_place_layout(config).members
    return data.StructLayout(
        {
            "acts": data.ArrayLayout(signed(8), config.act_word),
            "keep": unsigned(config.act_word),
            "more": unsigned(1),
            "context": context_shape(config),
            **{name: place[name] for name in ("lists", "count", "base", "end")},
        }
    )


def without_lowest(bits: Value) -> Value:
    """Return the bits but for the lowest that is set."""
    return Cat(bits[place] & bits[:place].any() for place in range(len(bits)))


class TokenBuilder(wiring.Component):
    """Emit the survivors of words from the lowest slot up, one per cycle, and ends.

    A survivor's lists lie ``channel_lists`` further for each slot. The first token of a word leaves
    `LATENCY` cycles after the word was taken.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    jobs : in, one `skip_job_layout` per context
    i_valid, i : in, `word_layout`
        A word with survivors, or an end.
    i_ready : out
        It is taken in this cycle.
    o : out, stream of tokens
    """

    LATENCY = 4

    jobs: list[data.View]
    i_valid: Signal
    i: data.View
    i_ready: Signal
    o: stream.Interface

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "jobs": In(skip_job_layout(config)).array(config.contexts),
                "i_valid": In(1),
                "i": In(word_layout(config)),
                "i_ready": Out(1),
                "o": Out(stream.Signature(token_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, token_stream = self._config, self.o
        slot_width, owner_width = exact_log2(config.act_word), exact_log2(config.groups)
        word = struct_signal(word_layout(config), reset_less=True)
        full, step = Signal(), Signal()
        rest, lowest = Signal(config.act_word), Signal(config.act_word)
        m.d.comb += [
            step.eq(~token_stream.valid | token_stream.ready),
            rest.eq(without_lowest(word.keep)),
            lowest.eq(word.keep & ~rest),
            self.i_ready.eq(~full | (step & ~word.more)),
        ]
        with m.If(self.i_ready):
            m.d.sync += [full.eq(self.i_valid), word.eq(self.i)]
        with m.Elif(step):
            m.d.sync += [word.keep.eq(rest), word.more.eq(without_lowest(rest).any())]

        # Three steps: choose the activation, how far its lists lie, where they begin and end.
        chosen, placed, token = (
            struct_signal(token_layout(config), name=name, reset_less=True)
            for name in ("chosen", "placed", "token")
        )
        chosen_valid, placed_valid = Signal(), Signal()
        slot = Signal(slot_width, reset_less=True)
        count = Signal.like(word.count, reset_less=True)
        channel_lists = Signal(config.pointer_addr_width, reset_less=True)
        offset = Signal(config.pointer_addr_width, reset_less=True)
        picked = reduce(
            or_,
            (Mux(lowest[place], word.acts[place], 0)[:8] for place in range(config.act_word)),
        )
        place = [
            Cat(lowest[place] for place in range(config.act_word) if place >> bit & 1).any()
            for bit in range(slot_width)
        ]
        m.d.comb += token_stream.payload.eq(token)
        with m.If(step):
            m.d.sync += [
                chosen_valid.eq(full),
                chosen.act.eq(picked),
                chosen.pointer.eq(word.lists),
                chosen.base.eq(word.base),
                chosen.context.eq(word.context),
                chosen.last.eq(word.end),
                slot.eq(Cat(*place)),
                count.eq(word.count),
                placed_valid.eq(chosen_valid),
                placed.eq(chosen),
                placed.stop.eq(chosen.pointer + count),
                placed.owner.eq(slot[:owner_width]),
                offset.eq(Mux(chosen.divided, slot >> owner_width, slot) * channel_lists),
                token_stream.valid.eq(placed_valid),
                token.eq(placed),
                token.pointer.eq(placed.pointer + offset),
                token.stop.eq(placed.stop + offset),
            ]
            with m.Switch(word.context):
                for number, job in enumerate(self.jobs):
                    with m.Case(number):
                        m.d.sync += [
                            channel_lists.eq(job.channel_lists),
                            chosen.divided.eq(job.divided),
                        ]
        return m
