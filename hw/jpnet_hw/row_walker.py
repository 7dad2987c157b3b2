"""Walk of a convolution's job through the rows of its map."""

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import struct_signal
from jpnet_hw.places import place_of_cluster
from jpnet_hw.skip_job import EXTENT_WIDTH, RUN_WIDTH, skip_job_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["RowWalker", "first_row", "row_place_layout"]


def row_place_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return where a row lies and what it meets.

    ``bank`` and ``address`` are those of its first word, ``lists`` the first list of channel 0 in
    the kernel's row and column phase 0, ``line`` the first accumulator row of the output row. The
    ``end`` of a job is no row.
    """
    return data.StructLayout(
        {
            "bank": unsigned(max(1, (config.clusters - 1).bit_length())),
            "address": unsigned(config.act_addr_width),
            "lists": unsigned(config.pointer_addr_width),
            "line": unsigned(config.acc_row_width),
            "end": unsigned(1),
        }
    )


def first_row(
    job: data.View, context: Value, *, config: AcceleratorConfig, cluster: Value
) -> Value:
    """Return the first output row of a cluster's share of a context's job.

    Unsigned, `EXTENT_WIDTH` + 1 bits.
    """
    place = place_of_cluster(config, cluster, context)
    row: Value = (((job.first_block << exact_log2(config.clusters)) + place) << job.pooled)[
        : EXTENT_WIDTH + 1
    ]
    return row


class RowWalker(wiring.Component):
    """Offer the source rows of a convolution's job, for one cluster, one after the other.

    The cluster's output rows come one after the other, and for each of them the kernel's rows: a
    row is offered for every one of them that meets a row of the map. The first row is offered at
    the earliest two cycles after `start`, the next one of the same output row in the cycle after a
    row was taken.

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
        The job's `first_row`.
    o : out, stream of `row_place_layout`
        The rows, and the end.
    """

    start: Signal
    job: data.View
    first_row: Signal
    o: stream.Interface

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._row = struct_signal(row_place_layout(config), name="row", reset_less=True)
        # Of the output row: its first source row, which may lie above the map, and the first row
        # of the map that it meets.
        self._target = Signal(signed(EXTENT_WIDTH + 4), name="target", reset_less=True)
        self._highest = struct_signal(row_place_layout(config), name="highest", reset_less=True)
        super().__init__(
            {
                "start": In(1),
                "job": In(skip_job_layout(config)),
                "first_row": In(EXTENT_WIDTH + 1),
                "o": Out(stream.Signature(row_place_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entering, meeting, walking = Signal(), Signal(), Signal()
        shown = Signal()
        passed = self._build_kernel(m, (entering, meeting, walking), shown)
        m.d.comb += [self.o.valid.eq(shown), self.o.payload.eq(self._row)]
        with m.FSM(name="rows"):
            self._build_outputs(m, (entering, meeting), shown)
            with m.State("KERNEL"):
                m.d.comb += walking.eq(1)
                with m.If(passed):
                    m.next = "NEXT"
            with m.State("END"):
                m.d.comb += self.o.payload.end.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += shown.eq(0)
                    m.next = "IDLE"
        return m

    def _move_down(self, m: Module, place: data.View) -> None:
        """Move a place to the row below."""
        wraps = place.bank == self._config.clusters - 1
        m.d.sync += place.bank.eq(Mux(wraps, 0, place.bank + 1))
        with m.If(wraps):
            m.d.sync += place.address.eq(place.address + self.job.source_row_words)

    def _build_outputs(self, m: Module, levels: tuple[Signal, Signal], shown: Signal) -> None:
        """Step from output row to output row, and down to the first source row of each."""
        entering, meeting = levels
        config, job, highest, target = self._config, self.job, self._highest, self._target
        blocks, lower = Signal(EXTENT_WIDTH, reset_less=True), Signal(reset_less=True)
        # Differences whose signs tell: output rows after this one, and rows of the map from the
        # highest one to the one that is met, each less one.
        after = Signal(signed(EXTENT_WIDTH + 2), reset_less=True)
        missing = Signal(signed(len(target) + 1), reset_less=True)
        first_target = (self.first_row << job.stride_log2) - job.padding_top
        # From the lower of two rows, or the only one, to the next block's first.
        block_step = Signal(range(2 * config.clusters), reset_less=True)
        block_rows, next_row = Signal.like(target, reset_less=True), Signal.like(target)
        more = job.pooled & ~lower
        m.d.sync += [
            block_step.eq((config.clusters << job.pooled) - job.pooled),
            block_rows.eq(block_step << job.stride_log2),
        ]
        m.d.comb += next_row.eq(Mux(more, 1 << job.stride_log2, block_rows))
        with m.State("IDLE"):
            m.d.sync += [
                after.eq(job.output_height - self.first_row - 1),
                target.eq(first_target),
                missing.eq(first_target - 1),
                blocks.eq(job.blocks),
                lower.eq(0),
                self._row.line.eq(job.first_sum),
                highest.bank.eq(0),
                highest.address.eq(job.base),
            ]
            with m.If(self.start):
                m.next = "OUTPUT"
        with m.State("OUTPUT"):
            m.d.comb += entering.eq(1)
            with m.If(after < 0):
                m.next = "NEXT"
            with m.Elif(missing < 0):
                m.d.comb += meeting.eq(1)
                m.next = "KERNEL"
            with m.Else():
                self._move_down(m, highest)
                m.d.sync += missing.eq(missing - 1)
        with m.State("NEXT"):
            m.d.sync += [
                lower.eq(more),
                self._row.line.eq(self._row.line + job.line_rows),
                after.eq(after - Mux(more, 1, block_step)),
                target.eq(target + next_row),
                missing.eq(missing + next_row),
            ]
            m.next = "OUTPUT"
            with m.If(~more):
                m.d.sync += blocks.eq(blocks - 1)
                with m.If(blocks == 1):
                    m.d.sync += shown.eq(1)
                    m.next = "END"

    def _build_kernel(
        self, m: Module, levels: tuple[Signal, Signal, Signal], shown: Signal
    ) -> Signal:
        """Step from kernel row to kernel row; return whether the last one of the map is passed."""
        entering, meeting, walking = levels
        job, row = self.job, self._row
        kernel_row = Signal(RUN_WIDTH, reset_less=True)
        source = Signal(signed(EXTENT_WIDTH + 4), reset_less=True)
        phase = Signal(2, reset_less=True)
        tap_lists = Signal.like(row.lists, reset_less=True)
        last_phase = phase == (1 << job.stride_log2) - 1
        next_tap = tap_lists + job.run_lists
        # Comparisons of a cycle ago: what is offered comes out of registers.
        above, below, beyond = (
            Signal(name=name, reset_less=True) for name in ("above", "below", "beyond")
        )
        coming_above, coming_below, coming_beyond = (
            Signal(name=f"coming_{name}") for name in ("above", "below", "beyond")
        )
        height = Signal(signed(EXTENT_WIDTH + 1))
        passed = Signal()
        m.d.comb += [
            height.eq(job.source_height),
            passed.eq(beyond | below),
            coming_above.eq(above & (source != -1)),
            coming_below.eq(source >= height - 1),
            coming_beyond.eq(kernel_row == job.kernel_height - 1),
        ]
        with m.If(entering):
            m.d.comb += [
                coming_above.eq(self._target < 0),
                coming_below.eq(self._target >= height),
                coming_beyond.eq(job.kernel_height == 0),
            ]
        taken = shown & self.o.ready
        steps = walking & (above | taken)
        stays = meeting | (walking & ~passed)
        with m.If(entering | steps):
            m.d.sync += [
                above.eq(coming_above),
                below.eq(coming_below),
                beyond.eq(coming_beyond),
                shown.eq(stays & ~coming_above & ~coming_below & ~coming_beyond),
            ]
        with m.If(steps):
            m.d.sync += [
                kernel_row.eq(kernel_row + 1),
                source.eq(source + 1),
                phase.eq(Mux(last_phase, 0, phase + 1)),
                row.lists.eq(row.lists + (job.phase_lists << job.stride_log2)),
            ]
            with m.If(last_phase):
                m.d.sync += [tap_lists.eq(next_tap), row.lists.eq(next_tap)]
        with m.If(walking & taken):
            self._move_down(m, row)
        with m.If(entering):
            m.d.sync += [
                kernel_row.eq(0),
                source.eq(self._target),
                phase.eq(0),
                row.bank.eq(self._highest.bank),
                row.address.eq(self._highest.address),
                row.lists.eq(job.pointer_base),
                tap_lists.eq(job.pointer_base),
            ]
        return passed
