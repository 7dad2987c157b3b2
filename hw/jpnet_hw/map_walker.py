"""Walk of one job through the words of a map."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import struct_signal
from jpnet_hw.register_slice import RegisterSlice
from jpnet_hw.row_walker import RowWalker, row_place_layout
from jpnet_hw.skip_job import EXTENT_WIDTH, skip_job_layout
from jpnet_hw.word_place import word_place_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["MapWalker"]


class MapWalker(wiring.Component):
    """Offer the words of a convolution's job, for one cluster, one after the other, then the end.

    The words of the rows that `RowWalker` offers come from left to right, of each pixel those that
    the job reads; a row follows the one before without a gap where it is offered by then.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    start : in
        Pulse; `job` is held from then on until the end was taken.
    job : in, `skip_job_layout`
    first_row : in
        The job's `jpnet_hw.row_walker.first_row`.
    active : out
        From the cycle after `start` until the end was taken.
    after_taken, after_held : out
        `valid` of the next cycle if the word is taken in this one, and if not.
    valid, o : out, `word_place_layout`
        The next word, or the end.
    taken : in
        It is taken in this cycle.
    """

    start: Signal
    job: data.View
    first_row: Signal
    active: Signal
    after_taken: Signal
    after_held: Signal
    valid: Signal
    o: data.View
    taken: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._word = struct_signal(word_place_layout(config), name="word", reset_less=True)
        super().__init__(
            {
                "start": In(1),
                "job": In(skip_job_layout(config)),
                "first_row": In(EXTENT_WIDTH + 1),
                "active": Out(1),
                "after_taken": Out(1),
                "after_held": Out(1),
                "valid": Out(1),
                "o": Out(word_place_layout(config)),
                "taken": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.row_walker = row_walker = RowWalker(self._config)
        # Registers both ways between the two walks: each is a long path by itself.
        m.submodules.rows = between = RegisterSlice(row_place_layout(self._config))
        wiring.connect(m, row_walker.o, between.i)
        rows = between.o
        # Until a row's first word is there: whatever stands there is taken for one.
        loads = Signal()
        fresh = self._build_words(m, rows, loads)
        m.d.comb += [
            row_walker.start.eq(self.start),
            row_walker.job.eq(self.job),
            row_walker.first_row.eq(self.first_row),
            rows.ready.eq(loads | (self.taken & fresh)),
        ]

        def follow_row() -> None:
            m.next = "ROW"
            with m.If(rows.payload.end):
                m.next = "END"

        with m.FSM(name="walk"):
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += self.active.eq(1)
                m.next = "MAP"
            with m.State("MAP"):
                m.d.comb += loads.eq(1)
                with m.If(rows.valid):
                    m.d.comb += [self.after_taken.eq(1), self.after_held.eq(1)]
                    follow_row()
            with m.State("ROW"):
                m.d.comb += [
                    self.valid.eq(1),
                    self.after_taken.eq(~fresh | rows.valid),
                    self.after_held.eq(1),
                ]
                with m.If(self.taken & fresh):
                    m.next = "MAP"
                    with m.If(rows.valid):
                        follow_row()
            with m.State("END"):
                m.d.comb += [
                    self.valid.eq(1),
                    self.after_held.eq(1),
                    self.o.end.eq(1),
                    self.o.used.eq(0),
                ]
                with m.If(self.taken):
                    m.d.sync += self.active.eq(0)
                    m.next = "IDLE"
        return m

    def _build_words(self, m: Module, rows: stream.Interface, loads: Signal) -> Signal:
        """Step from word to word; return whether the next one is a row's first.

        What the next word is comes out of a register, and what becomes of it is decided by `taken`
        alone: the choice of a word is a long path, and the walk follows everywhere.
        """
        config, job, word = self._config, self.job, self._word
        pixel_word = Signal(config.act_addr_width + 1, reset_less=True)
        pixel_step = Signal(config.act_addr_width, reset_less=True)
        next_pixel = Signal(config.act_addr_width, reset_less=True)
        word_lists = Signal(config.pointer_addr_width, reset_less=True)
        row_lists = Signal(config.pointer_addr_width, reset_less=True)
        pixels = Signal(EXTENT_WIDTH, reset_less=True)
        neighbours = Signal(config.act_word.bit_length())
        every_slot = job.channel_lists << exact_log2(config.act_word)
        # Told as the word before is taken.
        last_word, last_pixels, few_pixels, fresh = (
            Signal(name=name, reset_less=True)
            for name in ("last_word", "last_pixels", "few_pixels", "fresh")
        )
        next_last_word, next_last_pixels = Signal(), Signal()
        # Of every row.
        narrow_word, narrow_row, one_word = (
            Signal(name=name, reset_less=True) for name in ("narrow_word", "narrow_row", "one_word")
        )
        final_word = Signal.like(pixel_word, reset_less=True)
        m.d.comb += [
            neighbours.eq(1 << job.packing),
            self.o.eq(word),
            self.o.used.eq(Mux(last_word & (job.tail != 0), job.tail, config.act_word)),
        ]
        with m.If(few_pixels):
            m.d.comb += self.o.used.eq((pixels << exact_log2(config.act_word)) >> job.packing)
        m.d.sync += [
            final_word.eq(job.pixel_words - 1),
            pixel_step.eq(job.pixel_words + job.source_pixel_gap),
            word_lists.eq(Mux(job.divided, every_slot >> exact_log2(config.groups), every_slot)),
        ]
        m.d.sync += [
            narrow_word.eq(final_word == 0),
            narrow_row.eq(job.source_width <= neighbours),
            one_word.eq(narrow_word & narrow_row),
        ]
        m.d.comb += [
            next_last_word.eq(Mux(last_word, narrow_word, pixel_word + 1 == final_word)),
            next_last_pixels.eq(Mux(last_word, pixels <= (neighbours << 1), last_pixels)),
        ]
        row = rows.payload
        with m.If(loads | self.taken):
            m.d.sync += [
                word.address.eq(word.address + 1),
                word.lists.eq(word.lists + word_lists),
                pixel_word.eq(Mux(last_word, 0, pixel_word + 1)),
                last_word.eq(next_last_word),
                last_pixels.eq(next_last_pixels),
                fresh.eq(next_last_word & next_last_pixels),
            ]
            with m.If(last_word):
                m.d.sync += [
                    word.address.eq(next_pixel),
                    next_pixel.eq(next_pixel + pixel_step),
                    word.lists.eq(row_lists),
                    word.column.eq(word.column + neighbours),
                    pixels.eq(pixels - neighbours),
                    few_pixels.eq(pixels < (neighbours << 1)),
                ]
            with m.If(loads | fresh):
                m.d.sync += [
                    *(word[name].eq(row[name]) for name in ("bank", "address", "lists", "line")),
                    word.column.eq(job.padding_left),
                    next_pixel.eq(row.address + pixel_step),
                    pixel_word.eq(0),
                    row_lists.eq(row.lists),
                    pixels.eq(job.source_width),
                    last_word.eq(narrow_word),
                    last_pixels.eq(narrow_row),
                    few_pixels.eq(job.source_width < neighbours),
                    fresh.eq(~rows.valid | one_word),
                ]
        return fresh
