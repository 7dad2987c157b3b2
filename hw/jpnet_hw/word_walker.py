"""Walk of one job through the words of its tensor."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import struct_signal
from jpnet_hw.row_walker import RowWalker
from jpnet_hw.skip_job import EXTENT_WIDTH, skip_job_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["WordWalker", "word_place_layout"]


def word_place_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return where a word lies and what its activations meet.

    ``lists`` is the first list of the activation in slot 0 in column phase 0, ``line`` the first
    accumulator row of the output row, and ``column`` that of the first pixel in the padded map.
    ``used`` is the number of slots, from slot 0, that belong to the tensor, but for the job's
    ``blank`` ones; none at the ``end`` of a job, which is no word.
    """
    return data.StructLayout(
        {
            "bank": unsigned(max(1, (config.clusters - 1).bit_length())),
            "address": unsigned(config.act_addr_width),
            "lists": unsigned(config.pointer_addr_width),
            "line": unsigned(config.acc_addr_width),
            "column": unsigned(EXTENT_WIDTH + 1),
            "used": range(config.act_word + 1),
            "end": unsigned(1),
        }
    )


class WordWalker(wiring.Component):
    """Offer the words of one context's job, for one cluster, one after the other.

    A vector's words lie one behind the other in the cluster's own bank; its columns and lines are
    0. Of a convolution's job the words of the rows that `RowWalker` offers come, from left to
    right; a row follows the one before without a gap where it is offered by then.

    Parameters
    ----------
    config
        The accelerator.
    cluster
        Which cluster's share.

    Members
    -------
    start : in
        Pulse; `job` is held from then on until the end was taken.
    job : in, `skip_job_layout`
    active : out
        From the cycle after `start` until the end was taken.
    waiting : out
        The next word is not in the bank yet.
    valid, o : out, `word_place_layout`
        The next word, or the end.
    taken : in
        It is taken in this cycle.
    """

    start: Signal
    job: data.View
    active: Signal
    waiting: Signal
    valid: Signal
    o: data.View
    taken: Signal

    def __init__(self, config: AcceleratorConfig, *, cluster: int) -> None:
        self._config = config
        self._cluster = cluster
        self._word = struct_signal(word_place_layout(config), name="word", reset_less=True)
        super().__init__(
            {
                "start": In(1),
                "job": In(skip_job_layout(config)),
                "active": Out(1),
                "waiting": Out(1),
                "valid": Out(1),
                "o": Out(word_place_layout(config)),
                "taken": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job = self.job
        m.submodules.rows = rows = RowWalker(self._config, cluster=self._cluster)
        left, there = self._build_vector(m)
        row_ended = self._build_words(m, rows)
        m.d.comb += [rows.start.eq(self.start & job.convolution), rows.job.eq(job)]

        def follow_row() -> None:
            m.d.comb += rows.taken.eq(1)
            m.next = "ROW"
            with m.If(rows.o.end):
                m.next = "END"

        def end() -> None:
            m.d.comb += [self.valid.eq(1), self.o.end.eq(1), self.o.used.eq(0)]
            with m.If(self.taken):
                m.d.sync += self.active.eq(0)
                m.next = "IDLE"

        with m.FSM(name="walk"):
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += self.active.eq(1)
                m.next = "VECTOR"
                with m.If(job.convolution):
                    m.next = "MAP"
            with m.State("VECTOR"):
                m.d.comb += [self.waiting.eq(left & ~there), self.valid.eq(there)]
                with m.If(~left):
                    end()
            with m.State("MAP"):
                m.d.comb += self.waiting.eq(job.limited)
                with m.If(rows.valid & ~job.limited):
                    follow_row()
            with m.State("ROW"):
                m.d.comb += self.valid.eq(1)
                with m.If(self.taken & row_ended):
                    m.next = "MAP"
                    with m.If(rows.valid):
                        follow_row()
            with m.State("END"):
                end()
        return m

    def _build_vector(self, m: Module) -> tuple[Value, Signal]:
        """Count a vector's words; return whether any is left and whether the next is there."""
        job = self.job
        left = Signal(self._config.act_addr_width + 1, reset_less=True)
        index = Signal(self._config.act_addr_width + 1, reset_less=True)
        there = Signal()
        # A cycle old, and as if a word had been read since: off the path of the choice.
        m.d.sync += there.eq(Mux(self.start, ~job.limited, ~job.limited | (index + 1 < job.limit)))
        with m.If(self.taken):
            m.d.sync += [left.eq(left - 1), index.eq(index + 1)]
        with m.If(self.start):
            m.d.sync += [left.eq(job.words), index.eq(0)]
        return left != 0, there

    def _build_words(self, m: Module, rows: RowWalker) -> Value:
        """Step from word to word; return whether this is the last one of a map's row."""
        config, job, word = self._config, self.job, self._word
        pixel_word = Signal(config.act_addr_width + 1, reset_less=True)
        word_lists = Signal(config.pointer_addr_width, reset_less=True)
        row_lists = Signal(config.pointer_addr_width, reset_less=True)
        pixels = Signal(EXTENT_WIDTH, reset_less=True)
        last_word, neighbours = Signal(), Signal(config.act_word.bit_length())
        every_slot = job.channel_lists << exact_log2(config.act_word)
        m.d.comb += [
            last_word.eq(pixel_word == job.pixel_words - 1),
            neighbours.eq(1 << job.packing),
            self.o.eq(word),
            self.o.used.eq(Mux(last_word & (job.tail != 0), job.tail, config.act_word)),
        ]
        with m.If(job.convolution & (pixels < neighbours)):
            m.d.comb += self.o.used.eq((pixels << exact_log2(config.act_word)) >> job.packing)
        m.d.sync += word_lists.eq(
            Mux(job.divided, every_slot >> exact_log2(config.groups), every_slot)
        )
        with m.If(self.taken):
            m.d.sync += [
                word.address.eq(word.address + 1),
                word.lists.eq(word.lists + word_lists),
                pixel_word.eq(Mux(last_word, 0, pixel_word + 1)),
            ]
            with m.If(last_word & job.convolution):
                m.d.sync += [
                    word.lists.eq(row_lists),
                    word.column.eq(word.column + neighbours),
                    pixels.eq(pixels - neighbours),
                ]
        with m.If(self.start):
            m.d.sync += [
                word.bank.eq(self._cluster),
                word.address.eq(job.base),
                word.lists.eq(job.pointer_base),
                word.line.eq(0),
                word.column.eq(0),
                pixel_word.eq(0),
            ]
        with m.If(rows.taken):
            m.d.sync += [
                *(word[name].eq(rows.o[name]) for name in ("bank", "address", "lists", "line")),
                word.column.eq(job.padding_left),
                row_lists.eq(rows.o.lists),
                pixels.eq(job.source_width),
            ]
        return last_word & (pixels <= neighbours)
