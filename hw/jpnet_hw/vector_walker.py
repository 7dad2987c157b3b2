"""Walk of one context's job through the words of a vector."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.skip_job import skip_job_layout
from jpnet_hw.word_place import word_place_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["VectorWalker"]


class VectorWalker(wiring.Component):
    """Offer the words of a cluster's share of a vector, one after the other, then the end.

    They lie one behind the other in the cluster's own bank; their columns and lines are 0. The
    first word is offered in the cycle after `start`.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    cluster : in
        Whose share; always the same.
    start : in
        Pulse, at least a cycle after an end was taken; `job` is held from then on until the end
        was taken.
    job : in, `skip_job_layout`
    waiting : out
        The next word is not in the bank yet.
    begins : out
        `valid` of the cycle after `start`, told before: later it may be sooner.
    after_taken, after_held : out
        `valid` of the next cycle without `start`, if the word is taken in this one and if not.
    valid, o : out, `word_place_layout`
        The next word, or the end.
    taken : in
        It is taken in this cycle.
    """

    cluster: Signal
    start: Signal
    job: data.View
    waiting: Signal
    begins: Signal
    after_taken: Signal
    after_held: Signal
    valid: Signal
    o: data.View
    taken: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "cluster": In(range(max(2, config.clusters))),
                "start": In(1),
                "job": In(skip_job_layout(config)),
                "waiting": Out(1),
                "begins": Out(1),
                "after_taken": Out(1),
                "after_held": Out(1),
                "valid": Out(1),
                "o": Out(word_place_layout(config)),
                "taken": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, job = self._config, self.job
        active = Signal()
        left = Signal(config.act_addr_width + 1, reset_less=True)
        # Words up to the one after the next, it included.
        coming = Signal(config.act_addr_width + 1, reset_less=True)
        pixel_word = Signal(config.act_addr_width + 1, reset_less=True)
        address = Signal(config.act_addr_width, reset_less=True)
        lists, word_lists = (
            Signal(config.pointer_addr_width, name=name, reset_less=True)
            for name in ("lists", "word_lists")
        )
        final_word = Signal.like(pixel_word, reset_less=True)
        some_left, last_word = Signal(reset_less=True), Signal()
        one_left = Signal(reset_less=True)
        # A cycle old, and as if a word had been read since: off the path of the choice. Whether it
        # held a cycle before is what makes the next word valid.
        following, there = Signal(), Signal()
        used = Signal.like(self.o.used)
        every_slot = job.channel_lists << exact_log2(config.act_word)
        m.d.comb += [
            last_word.eq(pixel_word == final_word),
            self.waiting.eq(active & some_left & ~there),
            self.valid.eq(active & (there | ~some_left)),
            self.begins.eq(~job.limited | (job.words == 0)),
            self.after_taken.eq(active & some_left & (following | one_left)),
            self.after_held.eq(active & (following | ~some_left)),
            used.eq(Mux(last_word & (job.tail != 0), job.tail, config.act_word)),
        ]
        fields = {
            "bank": self.cluster,
            "address": address,
            "lists": lists,
            "line": Const(0, len(self.o.line)),
            "column": Const(0, len(self.o.column)),
            "used": Mux(some_left, used, 0),
            "end": ~some_left,
        }
        # As one value: a part that is always the same would be a process without an input.
        m.d.comb += self.o.eq(Cat(fields[name] for name in self.o.shape().members))
        m.d.sync += [
            following.eq(~job.limited | (~self.start & (coming < job.limit))),
            there.eq(Mux(self.start, ~job.limited, following)),
            final_word.eq(job.pixel_words - 1),
            word_lists.eq(Mux(job.divided, every_slot >> exact_log2(config.groups), every_slot)),
        ]
        with m.If(self.taken):
            m.d.sync += [
                left.eq(left - 1),
                some_left.eq(~one_left),
                one_left.eq(left == 2),
                coming.eq(coming + 1),
                address.eq(address + 1),
                lists.eq(lists + word_lists),
                pixel_word.eq(Mux(last_word, 0, pixel_word + 1)),
                active.eq(active & some_left),
            ]
        with m.If(self.start):
            m.d.sync += active.eq(1)
        # Before it starts, too: the job comes from afar, and so does its start.
        with m.If(~active):
            m.d.sync += [
                left.eq(job.words),
                some_left.eq(job.words != 0),
                one_left.eq(job.words == 1),
                coming.eq(2),
                address.eq(job.base),
                lists.eq(job.pointer_base),
                pixel_word.eq(0),
            ]
        return m
