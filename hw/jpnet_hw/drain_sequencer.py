"""Sequencer of the drain: which accumulator row is read in each cycle."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.arbitration import first_from, place_of
from jpnet_hw.layouts import context_shape, struct_signal
from jpnet_spec.config import AcceleratorConfig

__all__ = ["DrainSequencer", "drain_job_layout", "drain_step_layout"]

_EXTENT = 12
"""Bits of a map's height or width."""


def drain_job_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return the fields of an instruction that the drain needs, named as there.

    ``last_row`` is one less than the instruction's rows, ``pooled`` tells windows of 2x2.
    """
    return data.StructLayout(
        {
            "convolution": unsigned(1),
            "pooled": unsigned(1),
            "first_tile": unsigned(1),
            "last_tile": unsigned(1),
            "last_row": unsigned(config.acc_addr_width),
            "target_base": unsigned(config.act_addr_width),
            "param_base": unsigned((config.param_depth - 1).bit_length()),
            "shift": unsigned(6),
            "winners": unsigned(24),
            "threshold_mode": unsigned(2),
            "static_threshold": unsigned(7),
            "output_height": unsigned(_EXTENT),
            "output_width": unsigned(_EXTENT),
            "stored_height": unsigned(_EXTENT),
            "stored_width": unsigned(_EXTENT),
            "first_block": unsigned(_EXTENT),
            "blocks": unsigned(_EXTENT),
            "first_column": range(max(2, config.act_columns)),
            "line_rows": unsigned(config.acc_addr_width),
            "target_pixel_words": unsigned(config.act_addr_width),
            "target_row_words": unsigned(config.act_addr_width),
            "sample_stride": unsigned(9),
            "sample_start": unsigned(8),
            "sample_cluster": unsigned(8),
            "sample_block": unsigned(8),
            "sample_line": unsigned(8),
        }
    )


def drain_step_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return what is known of a row that is being drained.

    ``first`` and ``last`` mark a job's ends. A pooling window's rows, in ``window_first`` to
    ``window_last``, follow each other; without pooling each row is both. ``pixel_last`` and
    ``line_last`` mark the last window of a pixel and of a line of pixels. ``live`` has a bit for
    each cluster: its output row exists. ``right`` and ``lower`` tell the place in the window.
    """
    return data.StructLayout(
        {
            "context": context_shape(config),
            "channel_row": unsigned(config.acc_addr_width),
            "first": unsigned(1),
            "last": unsigned(1),
            "window_first": unsigned(1),
            "window_last": unsigned(1),
            "pixel_last": unsigned(1),
            "line_last": unsigned(1),
            "right": unsigned(1),
            "lower": unsigned(1),
            "live": unsigned(config.clusters),
        }
    )


def _walk_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return what is kept of the job whose rows are read."""
    names = (
        *("convolution", "pooled", "last_row", "line_rows"),
        *("output_width", "output_height", "first_block", "blocks"),
    )
    members = drain_job_layout(config).members
    return data.StructLayout({name: members[name] for name in names})


class DrainSequencer(wiring.Component):
    """Choose jobs, oldest image first, and walk through their accumulator rows.

    A convolution's tile is walked by local blocks, columns of windows, channel rows and, innermost,
    the rows and columns of the window; all clusters read the same row. A vector is one pixel. One
    row per cycle; jobs may follow each other without a gap. A request's first row comes 2 cycles
    later.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    clear : in
        Pulse: walk over all rows of all contexts with `o_valid` low. Only without jobs.
    clear_busy : out
        From the cycle after `clear` until every row was read.
    request : in, one bit a context
        Level, held until the context's `done`, then low for a cycle.
    oldest : in, one bit a context
        The context of the oldest image.
    jobs : in, one `drain_job_layout` a context
    done : in, one bit a context
        The job has ended.
    read_valid, read_row : out
        Accumulator row to read in this cycle.
    o_valid, o : out, `drain_step_layout`
        What is known of that row.
    """

    clear: Signal
    clear_busy: Signal
    request: Signal
    oldest: Signal
    jobs: list[data.View]
    done: Signal
    read_valid: Signal
    read_row: Signal
    o_valid: Signal
    o: data.View

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "clear": In(1),
                "clear_busy": Out(1),
                "request": In(config.contexts),
                "oldest": In(config.contexts),
                "jobs": In(drain_job_layout(config)).array(config.contexts),
                "done": In(config.contexts),
                "read_valid": Out(1),
                "read_row": Out(config.acc_addr_width),
                "o_valid": Out(1),
                "o": Out(drain_step_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        active, clearing, following = Signal(), Signal(), Signal()
        job = struct_signal(_walk_layout(config), reset_less=True)
        step = struct_signal(drain_step_layout(config))
        place = Signal(config.acc_addr_width, reset_less=True)
        begin = self._build_choice(m, active, clearing, following, job)
        self._build_walk(m, begin, clearing, job, (step, place))
        m.d.comb += following.eq(~active | step.last)

        # The row's address takes a cycle of its own.
        step_q = struct_signal(drain_step_layout(config), reset_less=True)
        read_row = Signal(config.acc_addr_width, reset_less=True)
        right, lower = Mux(step.right, job.last_row + 1, 0), Mux(step.lower, job.line_rows, 0)
        m.d.sync += [
            self.read_valid.eq(active | clearing),
            self.o_valid.eq(active),
            step_q.eq(step),
            read_row.eq(place + step.channel_row + right + lower),
        ]
        m.d.comb += [
            self.o.eq(step_q),
            self.read_row.eq(read_row),
            self.clear_busy.eq(clearing | (self.read_valid & ~self.o_valid)),
        ]
        return m

    def _build_choice(
        self, m: Module, active: Signal, clearing: Signal, following: Signal, job: data.View
    ) -> tuple[Signal, Signal]:
        """Take the next job when none is left to walk; return its pulse and its context."""
        config = self._config
        taken, waiting, first = (Signal(config.contexts) for _ in range(3))
        start, chosen = Signal(), Signal(context_shape(config))
        m.d.comb += [
            waiting.eq(self.request & ~taken),
            first.eq(first_from(waiting, self.oldest)),
            chosen.eq(place_of(first)),
            start.eq(waiting.any() & following & ~clearing),
        ]
        m.d.sync += taken.eq((taken & ~self.done) | Mux(start, first, 0))
        with m.If(following):
            m.d.sync += active.eq(start)
        for number, source in enumerate(self.jobs):
            with m.If(start & (chosen == number)):
                m.d.sync += [job[name].eq(source[name]) for name in job.shape().members]
        return start, chosen

    def _build_walk(
        self,
        m: Module,
        begin: tuple[Signal, Signal],
        clearing: Signal,
        job: data.View,
        position: tuple[data.View, Signal],
    ) -> None:
        """Count windows' rows, channel rows, columns and blocks."""
        step, place = position
        config = self._config
        start, chosen = begin
        columns, blocks = Signal(_EXTENT, reset_less=True), Signal(_EXTENT, reset_less=True)
        lines = Signal(signed(_EXTENT + 6), reset_less=True)
        line = Signal(config.acc_addr_width, reset_less=True)
        context = Signal(context_shape(config), reset_less=True)
        right, lower, begun = (Signal(reset_less=True) for _ in range(3))
        channel_row = Signal(config.acc_addr_width, reset_less=True)
        right_last = ~job.pooled | right | (columns == 1)
        block_lines = exact_log2(config.clusters) + job.pooled
        next_line = line + (job.line_rows << job.pooled)
        m.d.comb += [
            step.context.eq(context),
            step.channel_row.eq(channel_row),
            step.right.eq(right),
            step.lower.eq(lower),
            step.first.eq(begun),
            step.window_first.eq(~right & ~lower),
            step.window_last.eq(right_last & (~job.pooled | lower)),
            step.pixel_last.eq(step.window_last & (channel_row == job.last_row)),
            step.line_last.eq(step.pixel_last & ((columns == 1) | (job.pooled & (columns == 2)))),
            step.last.eq(step.line_last & (blocks == 1)),
        ]
        for cluster in range(config.clusters):
            exists = lines > (cluster << job.pooled) + lower
            m.d.comb += step.live[cluster].eq(Mux(job.convolution, exists, cluster == 0))
        m.d.sync += [
            begun.eq(0),
            right.eq(~right_last),
            channel_row.eq(Mux(step.window_last, channel_row + 1, channel_row)),
        ]
        with m.If(right_last):
            m.d.sync += lower.eq(~step.window_last)
        with m.If(step.pixel_last):
            m.d.sync += [
                channel_row.eq(0),
                columns.eq(columns - (1 << job.pooled)),
                place.eq(place + ((job.last_row + 1) << job.pooled)),
            ]
        with m.If(step.line_last):
            m.d.sync += [
                columns.eq(job.output_width),
                place.eq(next_line),
                line.eq(next_line),
                blocks.eq(blocks - 1),
                lines.eq(lines - (1 << block_lines)),
            ]
        for number, source in enumerate(self.jobs):
            with m.If(start & (chosen == number)):
                first_line = source.first_block << (exact_log2(config.clusters) + source.pooled)
                m.d.sync += [
                    context.eq(number),
                    begun.eq(1),
                    columns.eq(Mux(source.convolution, source.output_width, 1)),
                    blocks.eq(Mux(source.convolution, source.blocks, 1)),
                    lines.eq(source.output_height - first_line),
                ]
        with m.If(start):
            m.d.sync += [place.eq(0), line.eq(0), right.eq(0), lower.eq(0), channel_row.eq(0)]
        self._build_clear(m, clearing, context, channel_row, (place, right, lower))

    def _build_clear(
        self,
        m: Module,
        clearing: Signal,
        context: Signal,
        row: Signal,
        others: tuple[Signal, Signal, Signal],
    ) -> None:
        """Walk over all rows of all contexts."""
        config = self._config
        place, right, lower = others
        with m.If(clearing):
            m.d.sync += [row.eq(row + 1), right.eq(0), lower.eq(0), place.eq(0)]
            with m.If(row == config.acc_depth - 1):
                m.d.sync += [row.eq(0), context.eq(context + 1)]
                m.d.sync += clearing.eq(context != config.contexts - 1)
        with m.If(self.clear):
            m.d.sync += [
                clearing.eq(1),
                context.eq(0),
                row.eq(0),
                right.eq(0),
                lower.eq(0),
                place.eq(0),
            ]
