"""The zero skipper: from words of activations to the ones that survive."""

from collections.abc import Iterable
from functools import reduce
from operator import add, or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.arbitration import first_from, place_of
from jpnet_hw.context_space import bank_address
from jpnet_hw.layouts import context_shape, struct_signal, token_layout
from jpnet_hw.map_walker import MapWalker
from jpnet_hw.pair_queue import PairQueue
from jpnet_hw.register_slice import RegisterSlice
from jpnet_hw.row_walker import first_row
from jpnet_hw.skid_buffer import SkidBuffer
from jpnet_hw.skip_job import skip_job_layout
from jpnet_hw.token_builder import TokenBuilder, without_lowest, word_layout
from jpnet_hw.vector_walker import VectorWalker
from jpnet_hw.word_network import WordNetwork, word_ask_layout
from jpnet_hw.word_place import word_place_layout
from jpnet_hw.word_queues import WordQueues
from jpnet_spec.config import AcceleratorConfig

__all__ = ["ZeroSkipper"]

_QUEUE_DEPTH = 4
"""Words of one context that may wait."""

_MAP_WALKERS = 2
"""Contexts whose convolutions' words are asked for at a time."""


def _asked_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return a word on its way from the bank: whose it is and where it lies."""
    return data.StructLayout({"context": context_shape(config), "place": word_place_layout(config)})


def _turn_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return which bank a word is wanted from; the end is in none."""
    return data.StructLayout({"end": unsigned(1), "banks": unsigned(config.clusters)})


def _exceed(m: Module, acts: list[Value], limit: Value) -> Value:
    """Return one bit for each activation: whether its magnitude exceeds a limit."""
    negative = Cat(act[-1] for act in acts)
    # Inverted, a negative number is one less than its magnitude: then equal is enough.
    exceed: Value = negative
    for place, bound in enumerate(limit):
        digit, further = (Signal(len(acts), name=f"{name}_{place}") for name in ("digit", "exceed"))
        m.d.comb += [
            digit.eq(Cat(act[place] for act in acts) ^ negative),
            further.eq(Mux(bound, digit & exceed, digit | exceed)),
        ]
        exceed = further
    return exceed


class ZeroSkipper(wiring.Component):
    """Read one cluster's shares of the contexts' tensors and emit the survivors, one per cycle.

    A word is asked for every cycle while its context's queue has room, of the oldest image that has
    one to be read; words without a survivor take no further cycle. Of the words that wait, the
    oldest image's comes first. The first survivor of the first word of a vector leaves `LATENCY`
    cycles after `begin` when no older image has words and no other skipper wants its bank. After a
    job's last survivor, or alone when there is none, its end follows.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    cluster : in
        Whose share; always the same.
    begin : in, one bit per context
        Pulse; the context's job is held from then on until `busy` falls.
    jobs : in, one `skip_job_layout` per context
    oldest : in, one bit per context
        The context of the oldest image, in the next cycle; those after it, in turn, hold the
        younger ones.
    ask, granted, word
        To the banks, as in `jpnet_hw.word_network.WordNetwork`.
    o : out, stream of tokens
        The survivors.
    busy : out, one bit per context
        From two cycles after `begin` until the end was taken.
    reading : out, one bit per context
        From two cycles after `begin` until the last word was read from its bank.
    waiting : out, one bit per context
        The next word is not in the bank yet.
    read_count, zero_count, below_count : out
        Activations examined, found zero and found below the threshold in a cycle.
    """

    LATENCY = 5 + WordNetwork.LATENCY + TokenBuilder.LATENCY

    cluster: Signal
    begin: Signal
    jobs: list[data.View]
    oldest: Signal
    ask: data.View
    granted: Signal
    word: Signal
    o: stream.Interface
    busy: Signal
    reading: Signal
    waiting: Signal
    read_count: Signal
    zero_count: Signal
    below_count: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._limit = Signal(7, reset_less=True)
        self._dense = Signal(reset_less=True)
        self._present = Signal(config.act_word, reset_less=True)
        self._oldest = Signal(config.contexts, init=1)
        self._start = Signal(config.contexts)
        count = range(config.act_word + 1)
        super().__init__(
            {
                "cluster": In(range(max(2, config.clusters))),
                "begin": In(config.contexts),
                "jobs": In(skip_job_layout(config)).array(config.contexts),
                "oldest": In(config.contexts),
                "ask": Out(word_ask_layout(config)),
                "granted": In(1),
                "word": In(8 * config.act_word),
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
        config = self._config
        m.submodules.queues = queues = WordQueues(
            config, shape=word_layout(config), depth=_QUEUE_DEPTH
        )
        m.submodules.tokens = tokens = TokenBuilder(config)
        m.submodules.buffer = buffer = SkidBuffer(token_layout(config))
        dropped, taken = Signal(config.contexts), Signal(config.contexts)
        valid, asked = self._build_reader(m, taken, dropped)
        self._build_filter(m, queues, dropped, (valid, asked))
        m.d.sync += [self._oldest.eq(self.oldest), self._start.eq(self.begin)]
        m.d.comb += [
            queues.oldest.eq(self.oldest),
            taken.eq(Mux(queues.r_en & queues.r_valid, 1 << queues.r_context, 0)),
            tokens.i_valid.eq(queues.r_valid),
            tokens.i.eq(queues.r_data),
            queues.r_en.eq(tokens.i_ready),
            *(here.eq(job) for here, job in zip(tokens.jobs, self.jobs, strict=True)),
        ]
        wiring.connect(m, tokens.o, buffer.i)
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        ended = self.o.valid & self.o.ready & self.o.payload.last
        for context in range(config.contexts):
            read = valid & asked.place.end & (asked.context == context)
            with m.If(self._start[context]):
                m.d.sync += [self.busy[context].eq(1), self.reading[context].eq(1)]
            with m.Else():
                with m.If(ended & (self.o.payload.context == context)):
                    m.d.sync += self.busy[context].eq(0)
                with m.If(read):
                    m.d.sync += self.reading[context].eq(0)
        return m

    def _build_reader(self, m: Module, taken: Signal, dropped: Signal) -> tuple[Value, data.View]:
        """Choose whose word is read; return valid and what was asked for as the word arrives."""
        config = self._config
        # Chosen a cycle ahead, for a step and for none: what a choice does to the walkers, and they
        # to the next choice, is a long path by itself.
        stepped, held = Signal(config.contexts), Signal(config.contexts)
        # Vectors that begin join last: from registers of their own.
        begun = Signal(config.contexts)
        first, step = Signal(config.contexts), Signal()
        # Without and with a step.
        choices = [Signal(config.contexts, name=f"choice_{number}") for number in range(2)]
        for choice, requests in zip(choices, (held, stepped), strict=True):
            wanted = Signal.like(requests, name=f"wanted_{requests.name}")
            m.d.comb += [
                wanted.eq(requests | begun),
                choice.eq(first_from(wanted, self.oldest)),
            ]

        def coming(told: Iterable[Value]) -> Value:
            """Return what holds of the coming choice, told of both; the step joins last."""
            without, with_step = told
            return Mux(step, with_step, without)

        m.d.sync += first.eq(coming(choices))
        walkers = self._build_map_walkers(m)
        places = []
        walks = Signal(len(walkers))
        for number, (owner, walker) in enumerate(walkers):
            m.d.sync += walks[number].eq(coming((choice & owner).any() for choice in choices))
            m.d.comb += walker.taken.eq(walks[number] & step)
            places.append((walks[number], walker.o))
        for context, job in enumerate(self.jobs):
            vector = VectorWalker(config)
            m.submodules[f"vector_{context}"] = vector
            m.d.comb += vector.cluster.eq(self.cluster)
            # One bit for each number of words on their way: no sum on the path of the choice.
            outstanding = Signal(_QUEUE_DEPTH + 1, name=f"outstanding_{context}", init=1)
            left = Signal(_QUEUE_DEPTH + 1, name=f"left_{context}")
            # Told a cycle late: off the path behind the comparisons and the queues.
            finished = Signal(2, name=f"finished_{context}")
            steps = Signal(name=f"steps_{context}")
            owned = Cat(owner[context] for owner, _ in walkers)
            after_held = Cat(owner[context] & walker.after_held for owner, walker in walkers)
            after_taken = Cat(
                owner[context] & Mux(mine, walker.after_taken, walker.after_held)
                for mine, (owner, walker) in zip(walks, walkers, strict=True)
            )
            vector_after_step = Mux(steps, vector.after_taken, vector.after_held)
            m.d.sync += [
                begun[context].eq(self.begin[context] & ~job.convolution & vector.begins),
                finished.eq(taken[context] + dropped[context]),
                outstanding.eq(left << (first[context] & step)),
                steps.eq(coming(choice[context] & ~owned.any() for choice in choices)),
            ]
            m.d.comb += [
                vector.start.eq(self._start[context] & ~job.convolution),
                vector.job.eq(job),
                vector.taken.eq(steps & step),
                left.eq(outstanding >> finished),
                held[context].eq((vector.after_held | after_held.any()) & ~left[-1]),
                stepped[context].eq(
                    (vector_after_step | after_taken.any())
                    & ~Mux(first[context], left[-2], left[-1])
                ),
            ]
            with m.If(vector.waiting):
                m.d.comb += self.waiting[context].eq(1)
            places.append((steps, vector.o))
        # The banks choose by what comes out of registers, the rest waits beside it.
        m.submodules.turns = turns = RegisterSlice(_turn_layout(config))
        m.submodules.asks = asks = PairQueue(_asked_layout(config))
        chosen, wanted, turn = asks.i.payload.place, asks.o.payload, turns.o.payload
        m.d.comb += [
            step.eq(turns.i.ready),
            turns.i.valid.eq(first.any()),
            asks.i.valid.eq(first.any()),
            asks.i.payload.context.eq(place_of(first)),
            asks.i.payload.place.eq(
                reduce(or_, (Mux(mine, Value.cast(place), 0) for mine, place in places))
            ),
            turns.i.payload.end.eq(chosen.end),
            turns.i.payload.banks.eq(Mux(chosen.end, 0, Const(1, config.clusters) << chosen.bank)),
            self.ask.banks.eq(Mux(turns.o.valid, turn.banks, 0)),
            self.ask.address.eq(bank_address(config, wanted.context, wanted.place.address)),
            turns.o.ready.eq(self.granted | turn.end),
            asks.o.ready.eq(turns.o.ready),
        ]
        valid: Value = turns.o.valid & turns.o.ready
        item = wanted
        for stage in range(WordNetwork.LATENCY):
            if stage == WordNetwork.LATENCY - 1:
                self._build_limits(m, item)
            valid_q = Signal(name=f"read_valid_{stage}")
            item_q = struct_signal(_asked_layout(config), name=f"read_{stage}", reset_less=True)
            m.d.sync += [valid_q.eq(valid), item_q.eq(item)]
            valid, item = valid_q, item_q
        return valid, item

    def _build_map_walkers(self, m: Module) -> list[tuple[Signal, MapWalker]]:
        """Give the walkers to the contexts' convolutions, one after the other, the oldest first.

        Returns
        -------
        Of each walker whose it is, one bit per context, none while it is free; and the walker.
        """
        config = self._config
        pending, ready = Signal(config.contexts), Signal(config.contexts)
        granted = Signal(config.contexts)
        owners = [
            Signal(config.contexts, name=f"owner_{number}")
            for number in range(min(_MAP_WALKERS, config.contexts))
        ]
        free = Cat(~owner.any() for owner in owners)
        m.d.comb += [
            ready.eq(pending & ~Cat(here.limited for here in self.jobs)),
            granted.eq(Mux(free.any(), first_from(ready, self._oldest), 0)),
        ]
        for context, here in enumerate(self.jobs):
            with m.If(self._start[context] & here.convolution):
                m.d.sync += pending[context].eq(1)
            with m.Elif(granted[context]):
                m.d.sync += pending[context].eq(0)
            m.d.comb += self.waiting[context].eq(pending[context] & here.limited)
        # One choice for all walkers, in the cycle in which the walker begins.
        chosen = struct_signal(skip_job_layout(config), name="chosen_job")
        place = Signal(context_shape(config), name="granted_place", reset_less=True)
        m.d.sync += place.eq(place_of(granted))
        with m.Switch(place):
            for number, here in enumerate(self.jobs):
                with m.Case(number):
                    m.d.comb += chosen.eq(here)
        row = first_row(chosen, place, config=config, cluster=self.cluster)
        walkers = []
        for number, owner in enumerate(owners):
            walker = MapWalker(config)
            m.submodules[f"walker_{number}"] = walker
            begins = Signal(name=f"begins_{number}")
            job = struct_signal(skip_job_layout(config), name=f"job_{number}", reset_less=True)
            m.d.comb += [walker.start.eq(begins & ~walker.active), walker.job.eq(job)]
            with m.If(~begins):
                m.d.sync += [job.eq(chosen), walker.first_row.eq(row)]
            with m.If(owner.any()):
                m.d.sync += begins.eq(1)
                with m.If(walker.taken & walker.o.end):
                    m.d.sync += [owner.eq(0), begins.eq(0)]
            with m.Elif(~free[:number].any()):
                m.d.sync += owner.eq(granted)
            walkers.append((owner, walker))
        return walkers

    def _build_limits(self, m: Module, asked: data.View) -> None:
        """Have a word's threshold and the slots of its tensor ready when the word arrives."""
        used = Cat(asked.place.used > slot for slot in range(self._config.act_word))
        with m.Switch(asked.context):
            for number, job in enumerate(self.jobs):
                with m.Case(number):
                    m.d.sync += [
                        self._limit.eq(job.theta),
                        self._dense.eq(job.dense),
                        self._present.eq(used & ~job.blank),
                    ]

    def _build_filter(
        self,
        m: Module,
        queues: WordQueues,
        dropped: Signal,
        item: tuple[Value, data.View],
    ) -> None:
        """Compare a word's activations with the threshold and queue what has survivors."""
        config = self._config
        valid, asked = item
        word = struct_signal(word_layout(config), reset_less=True)
        valid_q = Signal()
        zeros = Signal(config.act_word, reset_less=True)
        below = Signal(config.act_word, reset_less=True)
        acts = data.View(data.ArrayLayout(signed(8), config.act_word), self.word)
        read = Signal(config.act_word, reset_less=True)
        place = asked.place
        m.d.sync += [
            valid_q.eq(valid),
            word.acts.eq(acts),
            word.context.eq(asked.context),
            *(word[name].eq(place[name]) for name in ("lists", "line", "column", "end")),
        ]
        slots = [acts[slot] for slot in range(config.act_word)]
        present, survives, zero = (
            Signal(config.act_word, name=name) for name in ("present", "survives", "zero")
        )
        m.d.comb += [
            present.eq(Mux(valid, self._present, 0)),
            survives.eq(_exceed(m, slots, self._limit) | self._dense.replicate(config.act_word)),
            zero.eq(Cat(act == 0 for act in slots)),
        ]
        m.d.sync += [
            read.eq(present),
            word.keep.eq(survives & present),
            zeros.eq(Mux(self._dense, 0, zero & present)),
            below.eq(~zero & present & ~survives),
        ]
        entry = struct_signal(word_layout(config))
        wanted = word.keep.any() | word.end
        m.d.comb += [
            queues.w_context.eq(word.context),
            entry.eq(word),
            entry.more.eq(without_lowest(word.keep).any()),
            queues.w_data.eq(entry),
            queues.w_en.eq(valid_q & wanted),
            dropped.eq(Mux(valid_q & ~wanted, 1 << word.context, 0)),
        ]
        for count, flags in (
            (self.read_count, read),
            (self.zero_count, zeros),
            (self.below_count, below),
        ):
            count_q = Signal.like(count, name=f"{flags.name}_count_q", reset_less=True)
            m.d.sync += count_q.eq(reduce(add, list(flags)))
            m.d.comb += count.eq(count_q)
