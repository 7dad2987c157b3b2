"""The zero skipper: from words of activations to the ones that survive."""

from functools import reduce
from operator import add, or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.activation_bank import ActivationBank, bank_addr_width
from jpnet_hw.arbitration import first_from, place_of
from jpnet_hw.layouts import context_shape, struct_signal, token_layout
from jpnet_hw.skid_buffer import SkidBuffer
from jpnet_hw.word_queues import WordQueues
from jpnet_spec.config import AcceleratorConfig

__all__ = ["ZeroSkipper", "skip_job_layout"]

_QUEUE_DEPTH = 4
"""Words of one context that may wait."""


def skip_job_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return the fields of one context's job: its share of one tensor.

    ``base`` and ``words`` are the first word address and the number of words in this bank; 0 words
    give the end alone. ``tail`` is the number of columns of the last word that belong to the
    tensor, 0 for all. An activation survives iff its magnitude exceeds ``theta``; with ``dense``
    everything survives, zeros too. With ``divided`` input i belongs to group ``i % groups``.
    ``pointer_base`` is the list table entry of the bank's first activation. With ``limited`` only
    the first ``limit`` words are in the bank yet; the others are waited for, and the last of them
    too, because it is asked for a cycle late.
    """
    return data.StructLayout(
        {
            "base": unsigned(config.act_addr_width),
            "words": unsigned(config.act_addr_width + 1),
            "tail": range(max(2, config.act_columns)),
            "theta": unsigned(7),
            "dense": unsigned(1),
            "divided": unsigned(1),
            "pointer_base": unsigned(config.pointer_addr_width),
            "limited": unsigned(1),
            "limit": unsigned(config.act_addr_width + 1),
        }
    )


def _read_layout(config: AcceleratorConfig) -> data.StructLayout:
    return data.StructLayout(
        {
            "context": context_shape(config),
            "index": unsigned(config.act_addr_width),
            "columns": unsigned(config.act_columns),
            "end": unsigned(1),
        }
    )


def _word_layout(config: AcceleratorConfig) -> data.StructLayout:
    return data.StructLayout(
        {
            "acts": data.ArrayLayout(signed(8), config.act_word),
            "keep": unsigned(config.act_word),
            "more": unsigned(1),
            "context": context_shape(config),
            "index": unsigned(config.act_addr_width),
            "end": unsigned(1),
        }
    )


def _without_lowest(bits: Value) -> Value:
    """Return the bits but for the lowest that is set."""
    return Cat(bits[place] & bits[:place].any() for place in range(len(bits)))


class ZeroSkipper(wiring.Component):
    """Read one bank's shares of the contexts' tensors and emit the survivors, one per cycle.

    A word is read every cycle while its context's queue has room, of the oldest image that has one
    to be read; words without a survivor take no further cycle. Of the words that wait, the oldest
    image's comes first. The first survivor of the first word leaves `LATENCY` cycles after `start`
    when no older image has words. After a job's last survivor, or alone when there is none, its
    end follows.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    start : in, one bit per context
        Pulse; the context's job is held until `busy` falls.
    jobs : in, one `skip_job_layout` per context
    oldest : in, one bit per context
        The context of the oldest image; those after it, in turn, hold the younger ones.
    hold : in
        The bank cannot be read in the next cycle.
    r_address, r_word
        To the bank.
    o : out, stream of tokens
        The survivors.
    busy : out, one bit per context
        From the cycle after `start` until the end was taken.
    reading : out, one bit per context
        From the cycle after `start` until the last word was read from the bank.
    waiting : out, one bit per context
        The next word is not in the bank yet.
    read_count, zero_count, below_count : out
        Activations examined, found zero and found below the threshold in a cycle.
    """

    LATENCY = 7 + ActivationBank.LATENCY

    start: Signal
    jobs: list[data.View]
    oldest: Signal
    hold: Signal
    r_address: Signal
    r_word: Signal
    o: stream.Interface
    busy: Signal
    reading: Signal
    waiting: Signal
    read_count: Signal
    zero_count: Signal
    below_count: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._limit = Signal(signed(8), reset_less=True)
        self._lower = Signal(signed(8), reset_less=True)
        self._dense = Signal(reset_less=True)
        count = range(config.act_word + 1)
        super().__init__(
            {
                "start": In(config.contexts),
                "jobs": In(skip_job_layout(config)).array(config.contexts),
                "oldest": In(config.contexts),
                "hold": In(1),
                "r_address": Out(bank_addr_width(config)),
                "r_word": In(8 * config.act_word),
                "o": Out(stream.Signature(token_layout(config))),
                "busy": Out(config.contexts),
                "reading": Out(config.contexts),
                "waiting": Out(config.contexts),
                "read_count": Out(count),
                "zero_count": Out(count),
                "below_count": Out(count),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queues = queues = WordQueues(
            self._config, shape=_word_layout(self._config), depth=_QUEUE_DEPTH
        )
        m.submodules.buffer = buffer = SkidBuffer(token_layout(self._config))
        dropped, taken = Signal(self._config.contexts), Signal(self._config.contexts)
        item = self._build_reader(m, taken, dropped)
        self._build_filter(m, queues, dropped, item)
        m.d.comb += [
            queues.oldest.eq(self.oldest),
            taken.eq(Mux(queues.r_en & queues.r_valid, 1 << queues.r_context, 0)),
        ]
        self._build_emitter(m, queues, buffer.i)
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        ended = self.o.valid & self.o.ready & self.o.payload.last
        for context in range(self._config.contexts):
            with m.If(self.start[context]):
                m.d.sync += self.busy[context].eq(1)
            with m.Elif(ended & (self.o.payload.context == context)):
                m.d.sync += self.busy[context].eq(0)
        return m

    def _of(self, one_hot: Value, values: list[Value]) -> Value:
        """Return the value of the context whose bit is set."""
        chosen = (
            Mux(one_hot[context], Value.cast(value).as_unsigned(), 0)
            for context, value in enumerate(values)
        )
        return reduce(or_, chosen)

    def _build_reader(self, m: Module, taken: Signal, dropped: Signal) -> tuple[Signal, data.View]:
        """Choose whose word is read; return valid and what was asked for as the word arrives."""
        config = self._config
        requests, chosen = Signal(config.contexts), Signal(config.contexts)
        states = [self._build_job(m, context, chosen) for context in range(config.contexts)]
        for context in range(config.contexts):
            outstanding = Signal(range(_QUEUE_DEPTH + 1), name=f"outstanding_{context}")
            following = Signal(range(_QUEUE_DEPTH + 1), name=f"following_{context}")
            room = Signal(name=f"room_{context}", init=1)
            # Told a cycle late: off the path behind the comparisons and the queues.
            finished = Signal(2, name=f"finished_{context}")
            m.d.sync += finished.eq(taken[context] + dropped[context])
            m.d.comb += following.eq(outstanding + chosen[context] - finished)
            m.d.sync += [outstanding.eq(following), room.eq(following != _QUEUE_DEPTH)]
            m.d.comb += requests[context].eq(
                self.reading[context] & ~self.waiting[context] & ~self.hold & room
            )
        m.d.comb += chosen.eq(first_from(requests, self.oldest))
        address = Signal(config.act_addr_width, reset_less=True)
        asked = struct_signal(_read_layout(config), reset_less=True)
        asked_valid = Signal()
        m.d.sync += [
            asked_valid.eq(chosen.any()),
            address.eq(self._of(chosen, [state[0] for state in states])),
            asked.index.eq(self._of(chosen, [state[1] for state in states])),
            asked.columns.eq(self._of(chosen, [state[2] for state in states])),
            asked.end.eq(self._of(chosen, [state[3] for state in states])),
            asked.context.eq(place_of(chosen)),
        ]
        context_bits = exact_log2(config.contexts)
        m.d.comb += self.r_address.eq(Cat(address, asked.context[:context_bits]))
        valid = asked_valid
        for stage in range(ActivationBank.LATENCY):
            if stage == ActivationBank.LATENCY - 1:
                self._build_limits(m, asked.context)
            valid_q = Signal(name=f"read_valid_{stage}")
            asked_q = struct_signal(_read_layout(config), name=f"read_{stage}", reset_less=True)
            m.d.sync += [valid_q.eq(valid), asked_q.eq(asked)]
            valid, asked = valid_q, asked_q
        return valid, asked

    def _build_limits(self, m: Module, context: Value) -> None:
        """Have the threshold of a word's context ready when the word arrives."""
        with m.Switch(context):
            for number, job in enumerate(self.jobs):
                with m.Case(number):
                    m.d.sync += [
                        self._limit.eq(job.theta),
                        self._lower.eq(-job.theta),
                        self._dense.eq(job.dense),
                    ]

    def _build_job(
        self, m: Module, context: int, chosen: Signal
    ) -> tuple[Signal, Signal, Signal, Signal]:
        """Follow one context's job; return address, index, columns and end of its next word."""
        config = self._config
        job = self.jobs[context]
        left = Signal(config.act_addr_width + 1, name=f"left_{context}", reset_less=True)
        index = Signal(config.act_addr_width, name=f"index_{context}", reset_less=True)
        address = Signal(config.act_addr_width, name=f"address_{context}", reset_less=True)
        columns = Signal(config.act_columns, name=f"columns_{context}")
        end = Signal(name=f"end_{context}")
        there = Signal(name=f"there_{context}")
        whole = (left != 1) | (job.tail == 0)
        m.d.comb += [
            end.eq(left == 0),
            *(
                columns[column].eq(~end & (whole | (job.tail > column)))
                for column in range(config.act_columns - 1)
            ),
            columns[-1].eq(~end & whole),
            self.waiting[context].eq(self.reading[context] & ~end & ~there),
        ]
        # A cycle old, and as if a word had been read since: off the path of the choice.
        m.d.sync += there.eq(~job.limited | (index + 1 < job.limit))
        with m.If(chosen[context]):
            m.d.sync += [left.eq(left - 1), index.eq(index + 1), address.eq(address + 1)]
            with m.If(end):
                m.d.sync += self.reading[context].eq(0)
        with m.If(self.start[context]):
            m.d.sync += [
                self.reading[context].eq(1),
                there.eq(~job.limited),
                left.eq(job.words),
                index.eq(0),
                address.eq(job.base),
            ]
        return address, index, columns, end

    def _build_filter(
        self,
        m: Module,
        queues: WordQueues,
        dropped: Signal,
        item: tuple[Signal, data.View],
    ) -> None:
        """Compare a word's activations with the threshold and queue what has survivors."""
        config = self._config
        valid, asked = item
        word = struct_signal(_word_layout(config), reset_less=True)
        valid_q = Signal()
        zeros = Signal(config.act_word, reset_less=True)
        below = Signal(config.act_word, reset_less=True)
        acts = data.View(data.ArrayLayout(signed(8), config.act_word), self.r_word)
        columns = Signal(config.act_columns, reset_less=True)
        m.d.sync += [
            valid_q.eq(valid),
            columns.eq(Mux(valid, asked.columns, 0)),
            word.acts.eq(acts),
            word.context.eq(asked.context),
            word.index.eq(asked.index),
            word.end.eq(asked.end),
        ]
        for slot in range(config.act_word):
            act = acts[slot]
            present = valid & asked.columns[slot // config.lanes]
            survives = (act > self._limit) | (act < self._lower) | self._dense
            m.d.sync += [
                word.keep[slot].eq(survives & present),
                zeros[slot].eq((act == 0) & present & ~self._dense),
                below[slot].eq((act != 0) & present & ~survives),
            ]
        entry = struct_signal(_word_layout(config))
        wanted = word.keep.any() | word.end
        m.d.comb += [
            queues.w_context.eq(word.context),
            entry.eq(word),
            entry.more.eq(_without_lowest(word.keep).any()),
            queues.w_data.eq(entry),
            queues.w_en.eq(valid_q & wanted),
            dropped.eq(Mux(valid_q & ~wanted, 1 << word.context, 0)),
        ]
        m.d.sync += [
            self.read_count.eq(reduce(add, list(columns)) * config.lanes),
            self.zero_count.eq(reduce(add, list(zeros))),
            self.below_count.eq(reduce(add, list(below))),
        ]

    def _build_emitter(self, m: Module, queues: WordQueues, o: stream.Interface) -> None:
        """Emit a word's survivors from the lowest slot up, then the next word's."""
        config = self._config
        slot_width = exact_log2(config.act_word)
        word = struct_signal(_word_layout(config), reset_less=True)
        full = Signal()
        lowest = Signal(config.act_word)
        rest = Signal(config.act_word)
        step = Signal()
        m.d.comb += [
            step.eq(~o.valid | o.ready),
            rest.eq(_without_lowest(word.keep)),
            lowest.eq(word.keep & ~rest),
            queues.r_en.eq(~full | (step & ~word.more)),
        ]
        with m.If(queues.r_en):
            m.d.sync += [full.eq(queues.r_valid), word.eq(queues.r_data)]
        with m.Elif(step):
            m.d.sync += [word.keep.eq(rest), word.more.eq(_without_lowest(rest).any())]

        # The token takes two steps: choose the activation, then add up its list's place.
        chosen_valid = Signal()
        chosen_end = Signal(reset_less=True)
        context = Signal(context_shape(config), reset_less=True)
        pointer_base = Signal(config.pointer_addr_width, reset_less=True)
        divided = Signal(reset_less=True)
        act = Signal(signed(8), reset_less=True)
        local = Signal(config.act_addr_width + slot_width, reset_less=True)
        picked = reduce(
            lambda a, b: a | b,
            (Mux(lowest[slot], word.acts[slot], 0)[:8] for slot in range(config.act_word)),
        )
        place = [
            Cat(lowest[slot] for slot in range(config.act_word) if slot >> bit & 1).any()
            for bit in range(slot_width)
        ]
        token = struct_signal(token_layout(config), reset_less=True)
        m.d.comb += o.payload.eq(token)
        owner_width = exact_log2(config.groups)
        with m.If(step):
            m.d.sync += [
                chosen_valid.eq(full),
                chosen_end.eq(word.end),
                act.eq(picked),
                context.eq(word.context),
                local.eq(Cat(*place, word.index)),
                o.valid.eq(chosen_valid),
                token.act.eq(act),
                token.last.eq(chosen_end),
                token.context.eq(context),
                token.divided.eq(divided),
                token.owner.eq(local[:owner_width]),
                token.pointer.eq(pointer_base + Mux(divided, local >> owner_width, local)),
            ]
            with m.Switch(word.context):
                for number, job in enumerate(self.jobs):
                    with m.Case(number):
                        m.d.sync += [pointer_base.eq(job.pointer_base), divided.eq(job.divided)]
