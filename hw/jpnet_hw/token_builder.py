"""From words with survivors to tokens."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import context_shape, struct_signal, token_layout
from jpnet_hw.skip_job import skip_job_layout
from jpnet_hw.word_place import word_place_layout
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
            **{name: place[name] for name in ("lists", "line", "column", "end")},
        }
    )


def without_lowest(bits: Value) -> Value:
    """Return the bits but for the lowest that is set."""
    return Cat(bits[place] & bits[:place].any() for place in range(len(bits)))


def _survivor_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return a survivor, its place in the map and what its context's job says of it.

    ``lists`` is the first list of channel 0 in column phase 0.
    """
    place, job = word_place_layout(config).members, skip_job_layout(config).members
    of_job = ("packing", "divided", "stride_log2", "last_column", "run_lists")
    return data.StructLayout(
        {
            "act": signed(8),
            "context": context_shape(config),
            "end": unsigned(1),
            "slot": range(config.act_word),
            **{name: place[name] for name in ("lists", "line", "column")},
            **{name: job[name] for name in (*of_job, "channel_lists", "phase_lists", "rows")},
        }
    )


class TokenBuilder(wiring.Component):
    """Emit the survivors of words from the lowest slot up, one per cycle, and ends.

    A survivor's slot tells its pixel within the word and its channel; the pixel's column tells the
    stride phase, the accumulator row and which lists of the run have an output. The first token of
    a word leaves `LATENCY` cycles after the word was taken.

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

    LATENCY = 5

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
        step = Signal()
        m.d.comb += step.eq(~token_stream.valid | token_stream.ready)
        valid, chosen = self._build_choice(m, step)
        placed = struct_signal(_survivor_layout(config), name="placed", reset_less=True)
        owner = Signal.like(token_stream.payload.owner, reset_less=True)
        channel, pixel = self._split_slot(m, chosen)
        with m.If(step):
            m.d.sync += [
                placed.eq(chosen),
                placed.column.eq(chosen.column + pixel),
                placed.slot.eq(channel >> Mux(chosen.divided, exact_log2(config.groups), 0)),
                owner.eq(channel[: exact_log2(config.groups)]),
            ]
        self._build_lists(m, step, placed, owner)
        flags = Signal(2)
        with m.If(step):
            m.d.sync += [flags.eq(Cat(valid, flags)), token_stream.valid.eq(flags[-1])]
        return m

    def _build_choice(self, m: Module, step: Signal) -> tuple[Signal, data.View]:
        """Take words and choose one survivor after the other; return valid and the survivor."""
        config = self._config
        word = struct_signal(word_layout(config), reset_less=True)
        full, valid = Signal(), Signal()
        rest, lowest = Signal(config.act_word), Signal(config.act_word)
        m.d.comb += [
            rest.eq(without_lowest(word.keep)),
            lowest.eq(word.keep & ~rest),
            self.i_ready.eq(~full | (step & ~word.more)),
        ]
        with m.If(self.i_ready):
            m.d.sync += [full.eq(self.i_valid), word.eq(self.i)]
        with m.Elif(step):
            m.d.sync += [word.keep.eq(rest), word.more.eq(without_lowest(rest).any())]
        chosen = struct_signal(_survivor_layout(config), reset_less=True)
        slots = range(config.act_word)
        place = [
            Cat(lowest[slot] for slot in slots if slot >> bit & 1).any()
            for bit in range(exact_log2(config.act_word))
        ]
        with m.If(step):
            m.d.sync += [
                valid.eq(full),
                chosen.act.eq(reduce(or_, (Mux(lowest[s], word.acts[s], 0)[:8] for s in slots))),
                chosen.slot.eq(Cat(*place)),
                *(chosen[name].eq(word[name]) for name in ("lists", "line", "column")),
                chosen.context.eq(word.context),
                chosen.end.eq(word.end),
            ]
            shared = chosen.shape().members.keys() & skip_job_layout(config).members.keys()
            with m.Switch(word.context):
                for number, job in enumerate(self.jobs):
                    with m.Case(number):
                        m.d.sync += [chosen[name].eq(job[name]) for name in sorted(shared)]
        return valid, chosen

    def _split_slot(self, m: Module, survivor: data.View) -> tuple[Signal, Signal]:
        """Return the channel and the pixel that a slot stands for."""
        slot_width = exact_log2(self._config.act_word)
        channel, pixel = Signal(slot_width), Signal(slot_width)
        with m.Switch(survivor.packing):
            for packing in range(slot_width + 1):
                with m.Case(packing):
                    m.d.comb += [
                        channel.eq(survivor.slot[: slot_width - packing]),
                        pixel.eq(survivor.slot[slot_width - packing :]),
                    ]
        return channel, pixel

    def _build_lists(self, m: Module, step: Signal, placed: data.View, owner: Signal) -> None:
        """Find the run of lists of a survivor and the accumulator row, in two steps."""
        config, width = self._config, self._config.pointer_addr_width
        token, met = (
            struct_signal(token_layout(config), name=name, reset_less=True)
            for name in ("token", "met")
        )
        offset, lists = Signal(width, reset_less=True), Signal(width, reset_less=True)
        output, phase = Signal.like(placed.column), Signal(2)
        m.d.comb += [
            output.eq(placed.column >> placed.stride_log2),
            phase.eq(placed.column[:2] & Cat(placed.stride_log2 != 0, placed.stride_log2[1])),
            self.o.payload.eq(token),
        ]
        reached = Signal.like(placed.line, reset_less=True)
        with m.If(step):
            m.d.sync += [
                met.act.eq(placed.act),
                met.context.eq(placed.context),
                met.last.eq(placed.end),
                met.divided.eq(placed.divided),
                met.owner.eq(owner),
                met.base.eq(placed.line),
                met.pointer.eq(Mux(output > placed.last_column, output - placed.last_column, 0)),
                met.stop.eq(Mux(output < placed.run_lists, output + 1, placed.run_lists)),
                reached.eq(output * placed.rows),
                offset.eq(placed.slot * placed.channel_lists),
                lists.eq(placed.lists + phase * placed.phase_lists),
                token.eq(met),
                token.pointer.eq(lists + offset + met.pointer),
                token.stop.eq(lists + offset + met.stop),
                token.base.eq(met.base + reached),
            ]
