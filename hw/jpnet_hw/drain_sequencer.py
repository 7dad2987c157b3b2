"""Sequencer of the drain: which accumulator row is read in each cycle."""

from itertools import product

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.arbitration import first_from, place_of
from jpnet_hw.drain_layouts import drain_job_layout, drain_step_layout
from jpnet_hw.layouts import context_shape, struct_signal
from jpnet_hw.places import by_cluster, turn_of, turns_of
from jpnet_hw.requantiser import Requantiser
from jpnet_hw.skip_job import EXTENT_WIDTH
from jpnet_hw.threshold import ThresholdCounter, is_counting
from jpnet_spec.config import AcceleratorConfig

__all__ = ["DrainSequencer"]

_READERS = 3
"""Places whose rows may differ; those after them read what the last of these reads."""


def _walk_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return what is kept of the job whose rows are read."""
    names = (
        *("convolution", "pooled", "last_tap", "last_row", "line_rows"),
        *("output_width", "output_height", "first_block", "blocks"),
        *("summed", "summed_row", "second"),
    )
    members = drain_job_layout(config).members
    return data.StructLayout({name: members[name] for name in names})


_ENDS = data.StructLayout(
    {name: unsigned(1) for name in ("across", "down", "channel_row", "column", "block")}
)
"""Of what the row that is read is the last one: of the window's columns and rows, and so on."""


def _beginning_layout() -> data.StructLayout:
    """Return where a job's walk begins.

    ``columns`` and ``blocks`` that are left, and output ``lines`` from the first one down.
    ``ends`` are those of the first row, ``last`` all of them, and ``blocks_last`` tells whether its
    block is one of the last two.
    """
    return data.StructLayout(
        {
            "columns": unsigned(EXTENT_WIDTH),
            "blocks": unsigned(EXTENT_WIDTH),
            "lines": signed(EXTENT_WIDTH + 6),
            "ends": _ENDS,
            "last": unsigned(1),
            "blocks_last": unsigned(1),
        }
    )


class _Tap:
    """Place in a pooling window, and the accumulator rows that lead there.

    `last_block` tells that the windows' first rows lie in the tile's last local block, and
    `last_blocks` in one of its last two.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        width = config.acc_row_width
        self.across = Signal(2, name="across", reset_less=True)
        self.down = Signal(2, name="down", reset_less=True)
        self.place = Signal(width, name="place", reset_less=True)
        self.over = Signal(width, name="over", reset_less=True)
        self.last_block = Signal()
        self.last_blocks = Signal(reset_less=True)

    def reset(self, m: Module) -> None:
        """Go to the first window's first place."""
        m.d.sync += [item.eq(0) for item in (self.across, self.down, self.place, self.over)]


def _lines_below(reader: int, clusters: int, stride: int, down: int) -> int:
    """Return how many of its own rows a place reads below the first one of its current block.

    A window's row `down` lies in the block ``down // stride`` further, and so in another place,
    there in the same local block or in a later one.
    """
    turn, line = divmod(down, stride)
    owner = (reader - turn) % clusters
    return (owner + turn) // clusters * stride + line


class DrainSequencer(wiring.Component):
    """Choose jobs, oldest image first, and walk through their accumulator rows.

    A convolution's tile is walked by local blocks, columns of windows, channel rows and, innermost,
    the rows and columns of the window. All places' windows have the same position, but a window's
    lower rows may lie in the next places, so that clusters may read different rows. Windows that
    overlap read an accumulator several times; it is kept until the last of them. A vector is one
    pixel. One row per cycle; jobs may follow each other without a gap, but the last rows of counted
    ones are `ThresholdCounter.TILE_CYCLES` apart. A request's first row comes 3 cycles later. Where
    other sums are added, or a second tensor is written, a row takes two cycles: in the second one
    the other sums are read. After the last row of a job with a second tensor no other row comes
    for `SECOND_CYCLES`.

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
        Level, held until the context's `done`, in whose cycle it is low.
    oldest : in, one bit a context
        The context of the oldest image, in the next cycle.
    jobs : in, one `drain_job_layout` a context
        Held from the cycle in which `request` rises.
    done : in, one bit a context
        The job has ended.
    read_valid, read_rows, keep : out
        Accumulator row that each cluster reads in this cycle, and whether it will read it again.
    o_valid, o : out, `drain_step_layout`
        What is known of that row; not of other sums.
    """

    SECOND_CYCLES = Requantiser.LATENCY

    clear: Signal
    clear_busy: Signal
    request: Signal
    oldest: Signal
    jobs: list[data.View]
    done: Signal
    read_valid: Signal
    read_rows: list[Signal]
    keep: Signal
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
                "read_rows": Out(config.acc_row_width).array(config.clusters),
                "keep": Out(config.clusters),
                "o_valid": Out(1),
                "o": Out(drain_step_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        active, clearing, following = Signal(), Signal(), Signal()
        odd, advance = Signal(), Signal()
        job = struct_signal(_walk_layout(config), reset_less=True)
        step = struct_signal(drain_step_layout(config))
        tap = _Tap(config)
        pausing = self._build_pause(m, active & advance & step.last & job.second)
        begin = self._build_choice(m, active, clearing, (following, pausing), job)
        self._build_walk(m, begin, (clearing, following, advance), job, (step, tap))
        paced = job.second | job.summed
        m.d.comb += [
            advance.eq(~paced | odd),
            following.eq(~active | (step.last & advance)),
        ]
        m.d.sync += odd.eq(active & paced & ~odd)

        # The rows' addresses take a cycle of their own.
        step_q = struct_signal(drain_step_layout(config), reset_less=True)
        cleared = Signal()
        m.d.sync += [
            self.read_valid.eq((active & (~odd | job.summed)) | clearing),
            self.o_valid.eq(active & ~odd),
            step_q.eq(step),
        ]
        m.d.comb += [
            self.o.eq(step_q),
            self.clear_busy.eq(clearing | cleared),
        ]
        m.d.sync += cleared.eq(clearing)
        self._build_reads(m, (clearing, odd), job, (step, tap), step_q.context)
        return m

    def _build_pause(self, m: Module, ending: Value) -> Value:
        """Return whether a second tensor's row is under way, from the cycle after its last step."""
        left = Signal(range(self.SECOND_CYCLES))
        with m.If(ending):
            m.d.sync += left.eq(self.SECOND_CYCLES - 2)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        pausing: Value = left != 0
        return pausing

    def _build_reads(
        self,
        m: Module,
        levels: tuple[Signal, Signal],
        job: data.View,
        position: tuple[data.View, _Tap],
        context: Value,
    ) -> None:
        """Find each cluster's row, or the one that is added, and whether a later window has it.

        The context is that of the row that is read, a cycle after the position.
        """
        clearing, odd = levels
        step, tap = position
        config = self._config
        # Blocks from the row that is read to the first window that has it.
        farthest = Signal(2)
        m.d.comb += farthest.eq(Mux(job.pooled, (job.last_tap == 2) & ~tap.down[0], job.last_tap))
        rows, keeps = [], []
        for reader in range(min(config.clusters, _READERS)):
            below = Signal(config.acc_row_width, name=f"below_{reader}")
            read_row = Signal(config.acc_row_width, name=f"read_row_{reader}", reset_less=True)
            keep = Signal(name=f"keep_{reader}", reset_less=True)
            with m.Switch(Cat(tap.down, job.pooled)):
                for pooled, down in product(range(2), range(3)):
                    lines = _lines_below(reader, config.clusters, 1 + pooled, down)
                    with m.Case(pooled << 2 | down):
                        m.d.comb += below.eq(job.line_rows * lines)
                        # A row below the tile may be another image's: not that one is read.
                        blocks = lines >> pooled
                        if blocks:
                            with m.If(tap.last_block if blocks == 1 else tap.last_blocks):
                                m.d.comb += below.eq(0)
            with m.If(odd):
                m.d.comb += below.eq(job.summed_row)
            # A place's rows are read by the windows of that many places before it, and before
            # that, in an earlier local block, by those of the places after it.
            last_below = Mux(farthest > reader, reader, farthest)
            final = (tap.across <= job.pooled) & (tap.down >> job.pooled == last_below)
            m.d.sync += [
                read_row.eq(tap.place + step.channel_row + tap.over + below),
                keep.eq(~final & ~clearing),
            ]
            rows.append(read_row)
            keeps.append(keep)
        readers = [min(place, len(rows) - 1) for place in range(config.clusters)]
        turn = turn_of(config, context)
        reads = [Cat(keeps[reader], rows[reader]) for reader in readers]
        for cluster, read in enumerate(by_cluster(m, reads, turn, turns_of(config), name="read")):
            m.d.comb += Cat(self.keep[cluster], self.read_rows[cluster]).eq(read)

    def _build_choice(
        self,
        m: Module,
        active: Signal,
        clearing: Signal,
        levels: tuple[Signal, Value],
        job: data.View,
    ) -> tuple[Signal, data.View]:
        """Take the next job when none is left to walk.

        Returns
        -------
        The job's context and, of `_beginning_layout`, where it begins.
        """
        config = self._config
        following, pausing = levels
        able, ready = Signal(config.contexts), Signal()
        taken, still_taken, waiting = (Signal(config.contexts) for _ in range(3))
        # Out of registers, chosen a cycle ahead: the choice goes to all that is known of a job.
        coming_first, first = Signal(config.contexts), Signal(config.contexts)
        start, chosen = Signal(), Signal(context_shape(config))
        # A counted job of few rows waits: last rows are as far apart as the threshold wants.
        missing = Signal(range(ThresholdCounter.TILE_CYCLES))
        missing_q = Signal.like(missing)
        m.d.comb += [
            missing.eq(Mux(active | pausing, ThresholdCounter.TILE_CYCLES - 1, missing_q)),
            able.eq(
                Cat(
                    (job.last_row >= missing) | ~is_counting(job.threshold_mode)
                    for job in self.jobs
                )
            ),
            still_taken.eq(taken & ~self.done),
            waiting.eq(self.request & ~still_taken),
            # With and without a start, which joins last.
            coming_first.eq(
                Mux(
                    start,
                    first_from(waiting & ~first, self.oldest),
                    first_from(waiting, self.oldest),
                )
            ),
            ready.eq((first & able).any() & ~pausing & ~clearing),
            start.eq(ready & following & ~(active & job.second)),
        ]
        m.d.sync += [
            first.eq(coming_first),
            chosen.eq(place_of(coming_first)),
            missing_q.eq(Mux(missing == 0, 0, missing - 1)),
            taken.eq(still_taken | Mux(start, first, 0)),
        ]
        with m.If(following):
            m.d.sync += active.eq(start)
        coming, beginning = struct_signal(_walk_layout(config)), struct_signal(_beginning_layout())
        beginnings = [self._build_beginning(m, number) for number in range(config.contexts)]
        with m.Switch(chosen):
            for number, source in enumerate(self.jobs):
                with m.Case(number):
                    m.d.comb += [coming[name].eq(source[name]) for name in job.shape().members]
                    m.d.comb += beginning.eq(beginnings[number])
        # Whether anything starts is told by `active` alone: what comes is loaded anyway.
        with m.If(following):
            m.d.sync += job.eq(coming)
        return chosen, beginning

    def _build_beginning(self, m: Module, context: int) -> data.View:
        """Return, a cycle late, where the walk of a context's job begins."""
        job = self.jobs[context]
        beginning = struct_signal(_beginning_layout(), name=f"beginning_{context}", reset_less=True)
        columns = Mux(job.convolution, job.output_width, 1)
        blocks = Mux(job.convolution, job.blocks, 1)
        first_line = job.first_block << (exact_log2(self._config.clusters) + job.pooled)
        ends = struct_signal(_ENDS, name=f"ends_{context}")
        m.d.comb += [
            ends.across.eq((job.last_tap == 0) | (columns == 1)),
            ends.down.eq(job.last_tap == 0),
            ends.channel_row.eq(job.last_row == 0),
            ends.column.eq((columns == 1) | (job.pooled & (columns == 2))),
            ends.block.eq(blocks == 1),
        ]
        m.d.sync += [
            beginning.columns.eq(columns),
            beginning.blocks.eq(blocks),
            beginning.lines.eq(job.output_height - first_line),
            beginning.ends.eq(ends),
            beginning.last.eq(Value.cast(ends).all()),
            beginning.blocks_last.eq(blocks <= 2),
        ]
        return beginning

    def _build_walk(
        self,
        m: Module,
        begin: tuple[Signal, data.View],
        levels: tuple[Signal, Signal, Signal],
        job: data.View,
        position: tuple[data.View, _Tap],
    ) -> None:
        """Count windows' rows and columns, channel rows, columns and blocks."""
        step, tap = position
        config = self._config
        chosen, beginning = begin
        clearing, following, advance = levels
        columns, blocks = (
            Signal(EXTENT_WIDTH, reset_less=True),
            Signal(EXTENT_WIDTH, reset_less=True),
        )
        lines = Signal(signed(EXTENT_WIDTH + 6), reset_less=True)
        line = Signal(config.acc_row_width, reset_less=True)
        context = Signal(context_shape(config), reset_less=True)
        begun = Signal(reset_less=True)
        channel_row = Signal(config.acc_row_width, reset_less=True)
        # Told a cycle ahead, and so is that all of them are last: off the path of the choice of a
        # job.
        ends = struct_signal(_ENDS, reset_less=True)
        coming = struct_signal(_ENDS)
        last = Signal(reset_less=True)
        m.d.comb += [coming.eq(ends), tap.last_block.eq(ends.block)]
        m.d.sync += [ends.eq(coming), last.eq(Value.cast(coming).all())]
        one_tap, one_wide = job.last_tap == 0, job.output_width == 1
        block_lines = exact_log2(config.clusters) + job.pooled
        next_line = line + (job.line_rows << job.pooled)
        turn = (tap.down >> job.pooled) + turn_of(config, context)
        m.d.comb += [
            step.context.eq(context),
            step.channel_row.eq(channel_row),
            step.right.eq(tap.across),
            step.lower.eq(tap.down),
            step.counted.eq((tap.across <= job.pooled) & (tap.down <= job.pooled)),
            step.turn.eq(Mux(job.convolution, turn[: exact_log2(config.clusters)], 0)),
            step.final.eq(~job.second),
            step.first.eq(begun),
            step.window_first.eq((tap.across == 0) & (tap.down == 0)),
            step.window_last.eq(ends.across & ends.down),
            step.pixel_last.eq(step.window_last & ends.channel_row),
            step.line_last.eq(step.pixel_last & ends.column),
            step.last.eq(last),
        ]
        for place in range(config.clusters):
            exists = lines > (place << job.pooled) + tap.down
            m.d.comb += step.live[place].eq(Mux(job.convolution, exists, place == 0))
        with m.If(advance):
            m.d.sync += [
                begun.eq(0),
                tap.across.eq(Mux(ends.across, 0, tap.across + 1)),
                tap.over.eq(Mux(ends.across, 0, tap.over + job.last_row + 1)),
            ]
            m.d.comb += coming.across.eq(
                Mux(
                    ends.across,
                    one_tap | (columns == 1),
                    (tap.across + 1 == job.last_tap) | (columns == tap.across + 2),
                )
            )
            with m.If(ends.across):
                m.d.sync += tap.down.eq(Mux(ends.down, 0, tap.down + 1))
                m.d.comb += coming.down.eq(Mux(ends.down, one_tap, tap.down + 1 == job.last_tap))
            with m.If(step.window_last):
                m.d.sync += channel_row.eq(channel_row + 1)
                m.d.comb += coming.channel_row.eq(channel_row + 1 == job.last_row)
            with m.If(step.pixel_last):
                m.d.sync += [
                    channel_row.eq(0),
                    columns.eq(columns - (1 << job.pooled)),
                    tap.place.eq(tap.place + ((job.last_row + 1) << job.pooled)),
                ]
                m.d.comb += [
                    coming.across.eq(one_tap | (columns == Mux(job.pooled, 3, 2))),
                    coming.channel_row.eq(job.last_row == 0),
                    coming.column.eq(
                        Mux(job.pooled, (columns == 3) | (columns == 4), columns == 2)
                    ),
                ]
            with m.If(step.line_last):
                m.d.sync += [
                    columns.eq(job.output_width),
                    tap.place.eq(next_line),
                    line.eq(next_line),
                    blocks.eq(blocks - 1),
                    tap.last_blocks.eq(blocks <= 3),
                    lines.eq(lines - (1 << block_lines)),
                ]
                m.d.comb += [
                    coming.across.eq(one_tap | one_wide),
                    coming.column.eq(one_wide | (job.pooled & (job.output_width == 2))),
                    coming.block.eq(blocks == 2),
                ]
        with m.If(following & ~clearing):
            m.d.sync += [
                context.eq(chosen),
                begun.eq(1),
                columns.eq(beginning.columns),
                blocks.eq(beginning.blocks),
                lines.eq(beginning.lines),
                tap.last_blocks.eq(beginning.blocks_last),
                line.eq(0),
                channel_row.eq(0),
            ]
            m.d.sync += [ends.eq(beginning.ends), last.eq(beginning.last)]
            tap.reset(m)
        self._build_clear(m, clearing, context, channel_row, tap)

    def _build_clear(
        self, m: Module, clearing: Signal, context: Signal, row: Signal, tap: _Tap
    ) -> None:
        """Walk over all rows of all contexts."""
        config = self._config
        with m.If(clearing):
            tap.reset(m)
            m.d.sync += row.eq(row + 1)
            with m.If(row == config.acc_depth - 1):
                m.d.sync += [row.eq(0), context.eq(context + 1)]
                m.d.sync += clearing.eq(context != config.contexts - 1)
        with m.If(self.clear):
            tap.reset(m)
            m.d.sync += [clearing.eq(1), context.eq(0), row.eq(0)]
