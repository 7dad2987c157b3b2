"""Walk of one job through the words of its tensor."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import struct_signal
from jpnet_spec.config import AcceleratorConfig

__all__ = ["WordWalker", "skip_job_layout", "word_place_layout"]

_EXTENT = 12
"""Bits of a map's height or width."""
_RUN = 8
"""Bits of a run's number of lists, of a kernel's rows and of paddings."""


def skip_job_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return the fields of one context's job: its share of one tensor.

    Named as in `jpnet_spec.instruction.Instruction`, but: ``base`` is `source_base`; ``words`` the
    number of words to read in this bank, of a vector or a map that is read as one, where 0 words
    give the end alone; ``last_row`` one less than `rows`; ``pooled`` tells windows of two rows.
    ``tail`` is the number of columns of every last one of ``pixel_words`` words that belong to the
    tensor, 0 for all. An activation survives iff its magnitude exceeds ``theta``; with ``dense``
    everything survives, zeros too. With ``divided`` input i belongs to group ``i % groups``. With
    ``limited`` the image is on its way: only the first ``limit`` words are in the bank yet, the
    others are waited for, and the last of them too, because it is asked for a cycle late; a
    convolution waits for the whole image.
    """
    return data.StructLayout(
        {
            "convolution": unsigned(1),
            "base": unsigned(config.act_addr_width),
            "words": unsigned(config.act_addr_width + 1),
            "tail": range(max(2, config.act_columns)),
            "pixel_words": unsigned(config.act_addr_width + 1),
            "theta": unsigned(7),
            "dense": unsigned(1),
            "divided": unsigned(1),
            "pointer_base": unsigned(config.pointer_addr_width),
            "channel_lists": unsigned(config.pointer_addr_width),
            "limited": unsigned(1),
            "limit": unsigned(config.act_addr_width + 1),
            "stride_log2": unsigned(2),
            "pooled": unsigned(1),
            "last_row": unsigned(config.acc_addr_width),
            "line_rows": unsigned(config.acc_addr_width),
            "kernel_height": unsigned(_RUN),
            "source_height": unsigned(_EXTENT),
            "source_width": unsigned(_EXTENT),
            "source_row_words": unsigned(config.act_addr_width),
            "padding_top": unsigned(_RUN),
            "padding_left": unsigned(_RUN),
            "output_height": unsigned(_EXTENT),
            "output_width": unsigned(_EXTENT),
            "first_block": unsigned(_EXTENT),
            "blocks": unsigned(_EXTENT),
            "run_lists": unsigned(_RUN),
            "phase_lists": unsigned(config.pointer_addr_width),
        }
    )


def word_place_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return where a word lies and what its activations meet.

    ``lists`` is the first list of the activation in slot 0, ``count`` the lists of a run, ``base``
    the accumulator row from which products are placed. ``columns`` are those that belong to the
    tensor; none at the ``end`` of a job, which is no word.
    """
    return data.StructLayout(
        {
            "bank": unsigned(max(1, (config.clusters - 1).bit_length())),
            "address": unsigned(config.act_addr_width),
            "lists": unsigned(config.pointer_addr_width),
            "count": unsigned(_RUN),
            "base": unsigned(config.acc_addr_width),
            "columns": unsigned(config.act_columns),
            "end": unsigned(1),
        }
    )


class _Walk:
    """What steps between rows and steps between pixels tell each other."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self.enter = Signal(name="enter_row")
        self.walking = Signal(name="walking")
        self.finished = Signal(name="row_finished")
        self.lists = Signal(config.pointer_addr_width, name="kernel_row_lists", reset_less=True)
        self.line = Signal(config.acc_addr_width, name="line", reset_less=True)


class WordWalker(wiring.Component):
    """Offer the words of one context's job, for one cluster, one after the other.

    A vector's words lie one behind the other in the cluster's own bank. A convolution's job is
    walked by the cluster's output rows and, for each, by the kernel's rows: every source row that a
    kernel row meets is read from left to right. Pixels to the right of all outputs are left out.

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
        config, job, word = self._config, self.job, self._word
        pixel_word = Signal(config.act_addr_width + 1, reset_less=True)
        last_word = Signal()
        word_lists = Signal(config.pointer_addr_width, reset_less=True)
        every_slot = job.channel_lists << exact_log2(config.act_word)
        m.d.comb += [
            last_word.eq(pixel_word == job.pixel_words - 1),
            self.o.eq(word),
            self.o.columns.eq(-1),
            self.o.end.eq(0),
        ]
        with m.If(last_word & (job.tail != 0)):
            m.d.comb += self.o.columns[-1].eq(0)
            for column in range(1, config.act_columns - 1):
                m.d.comb += self.o.columns[column].eq(job.tail > column)
        m.d.sync += word_lists.eq(
            Mux(job.divided, every_slot >> exact_log2(config.groups), every_slot)
        )
        with m.If(self.taken):
            m.d.sync += [
                word.address.eq(word.address + 1),
                word.lists.eq(word.lists + word_lists),
                pixel_word.eq(Mux(last_word, 0, pixel_word + 1)),
            ]
        walk = self._build_pixels(m, last_word)
        ended, there = self._build_words(m)
        with m.FSM(name="walk"):
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [
                    self.active.eq(1),
                    word.bank.eq(self._cluster),
                    word.address.eq(job.base),
                    word.lists.eq(job.pointer_base),
                    word.count.eq(1),
                    word.base.eq(0),
                    pixel_word.eq(0),
                ]
                m.next = "VECTOR"
                with m.If(job.convolution):
                    m.next = "MAP"
            with m.State("VECTOR"):
                m.d.comb += [self.waiting.eq(~ended & ~there), self.valid.eq(there)]
                with m.If(ended):
                    m.d.comb += [self.valid.eq(1), self.o.end.eq(1), self.o.columns.eq(0)]
                    with m.If(self.taken):
                        m.d.sync += self.active.eq(0)
                        m.next = "IDLE"
            self._build_map(m, walk)
            with m.State("END"):
                m.d.comb += [self.valid.eq(1), self.o.end.eq(1), self.o.columns.eq(0)]
                with m.If(self.taken):
                    m.d.sync += self.active.eq(0)
                    m.next = "IDLE"
        return m

    def _build_words(self, m: Module) -> tuple[Value, Signal]:
        """Count a vector's words; return whether none is left and whether the next is there."""
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
        return left == 0, there

    def _build_map(self, m: Module, walk: _Walk) -> None:
        """Step from output row to output row and from kernel row to kernel row."""
        config, job, word = self._config, self.job, self._word
        # Output row, whose first source row is `target`; `seen` is the cursor's row, 0 or more.
        output = Signal(_EXTENT + 1, reset_less=True)
        target = Signal(signed(_EXTENT + 4), reset_less=True)
        seen = Signal(_EXTENT + 1, reset_less=True)
        blocks, lower = Signal(_EXTENT, reset_less=True), Signal(reset_less=True)
        line, row_lists = walk.line, walk.lists
        cursor = [Signal.like(part, reset_less=True) for part in (word.bank, word.address)]
        # Kernel row, and the source row that it meets.
        kernel_row = Signal(_RUN, reset_less=True)
        source = Signal(signed(_EXTENT + 4), reset_less=True)
        row = [Signal.like(part, reset_less=True) for part in (word.bank, word.address)]
        row_phase = Signal(2, reset_less=True)
        tap_lists = Signal(config.pointer_addr_width, reset_less=True)

        def advance(place: list[Signal]) -> list[Value]:
            """Return the place of the row below."""
            wraps = place[0] == config.clusters - 1
            return [
                Mux(wraps, 0, place[0] + 1),
                Mux(wraps, place[1] + job.source_row_words, place[1]),
            ]

        def move(place: list[Signal], values: list[Value] | list[Signal]) -> None:
            m.d.sync += [part.eq(value) for part, value in zip(place, values, strict=True)]

        with m.State("MAP"):
            first = ((job.first_block << exact_log2(config.clusters)) + self._cluster) << job.pooled
            m.d.sync += [
                output.eq(first),
                target.eq((first << job.stride_log2) - job.padding_top),
                seen.eq(0),
                blocks.eq(job.blocks),
                lower.eq(0),
                line.eq(0),
                cursor[0].eq(0),
                cursor[1].eq(job.base),
            ]
            with m.If(~job.limited):
                m.next = "OUTPUT"
            m.d.comb += self.waiting.eq(job.limited)
        with m.State("OUTPUT"):
            m.d.sync += [
                kernel_row.eq(0),
                source.eq(target),
                row_phase.eq(0),
                row_lists.eq(job.pointer_base),
                tap_lists.eq(job.pointer_base),
            ]
            move(row, cursor)
            with m.If(output >= job.output_height):
                m.next = "NEXT"
            with m.Elif(seen.as_signed() >= target):
                m.next = "KERNEL"
            with m.Else():
                move(cursor, advance(cursor))
                m.d.sync += seen.eq(seen + 1)
        with m.State("NEXT"):
            more = job.pooled & ~lower
            skipped = (config.clusters << job.pooled) - job.pooled
            m.d.sync += [
                lower.eq(more),
                line.eq(line + job.line_rows),
                output.eq(output + Mux(more, 1, skipped)),
                target.eq(target + (Mux(more, 1, skipped) << job.stride_log2)),
            ]
            m.next = "OUTPUT"
            with m.If(~more):
                m.d.sync += blocks.eq(blocks - 1)
                with m.If(blocks == 1):
                    m.next = "END"
        with m.State("KERNEL"):
            last_phase = row_phase == (1 << job.stride_log2) - 1
            next_tap = tap_lists + job.run_lists
            with m.If(
                (kernel_row == job.kernel_height)
                | (source >= Cat(job.source_height, 0).as_signed())
            ):
                m.next = "NEXT"
            with m.Else():
                m.d.sync += [
                    kernel_row.eq(kernel_row + 1),
                    source.eq(source + 1),
                    row_phase.eq(Mux(last_phase, 0, row_phase + 1)),
                    row_lists.eq(row_lists + (job.phase_lists << job.stride_log2)),
                ]
                with m.If(last_phase):
                    m.d.sync += [tap_lists.eq(next_tap), row_lists.eq(next_tap)]
                with m.If(source >= 0):
                    move(row, advance(row))
                    m.d.sync += [word.bank.eq(row[0]), word.address.eq(row[1])]
                    m.d.comb += walk.enter.eq(1)
                    m.next = "PIXEL"
        with m.State("PIXEL"):
            m.d.comb += walk.walking.eq(1)
            with m.If(walk.finished):
                m.next = "KERNEL"

    def _build_pixels(self, m: Module, last_word: Signal) -> _Walk:
        """Step from pixel to pixel of a row, and follow the lists that have outputs for each."""
        config, job, word = self._config, self.job, self._word
        walk = _Walk(config)
        padding, pixels = Signal(_RUN, reset_less=True), Signal(_EXTENT, reset_less=True)
        # Of the output column straight above: its distance from the last one, its run of lists.
        over = Signal(signed(_EXTENT + 2), reset_less=True)
        longest, first = Signal(_RUN, reset_less=True), Signal(_RUN, reset_less=True)
        phase = Signal(2, reset_less=True)
        row_lists = Signal(config.pointer_addr_width, reset_less=True)
        phase_lists = Signal(config.pointer_addr_width, reset_less=True)
        missing = padding != 0
        step = walk.walking & (missing | (self.taken & last_word))
        wraps = phase == (1 << job.stride_log2) - 1
        grows, shrinks = longest != job.run_lists - 1, over >= 0
        next_first = first + shrinks
        with m.If(walk.walking):
            m.d.comb += [
                self.valid.eq(~missing & (word.count != 0)),
                walk.finished.eq((word.count == 0) | (step & ~missing & (pixels == 1))),
            ]
        with m.If(step):
            with m.If(missing):
                m.d.sync += padding.eq(padding - 1)
            with m.Else():
                m.d.sync += pixels.eq(pixels - 1)
            with m.If(wraps):
                m.d.sync += [
                    phase.eq(0),
                    over.eq(over + 1),
                    longest.eq(longest + grows),
                    first.eq(next_first),
                    word.count.eq(word.count + grows - shrinks),
                    word.base.eq(word.base + job.last_row + 1),
                    phase_lists.eq(row_lists),
                    word.lists.eq(row_lists + next_first),
                ]
            with m.Else():
                next_phase = phase_lists + job.phase_lists
                m.d.sync += [
                    phase.eq(phase + 1),
                    phase_lists.eq(next_phase),
                    word.lists.eq(next_phase + first),
                ]
        with m.If(walk.enter):
            m.d.sync += [
                padding.eq(job.padding_left),
                pixels.eq(job.source_width),
                over.eq(1 - job.output_width),
                longest.eq(0),
                first.eq(0),
                phase.eq(0),
                row_lists.eq(walk.lists),
                phase_lists.eq(walk.lists),
                word.lists.eq(walk.lists),
                word.count.eq(1),
                word.base.eq(walk.line),
            ]
        return walk
