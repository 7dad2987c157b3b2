"""Places of drained rows in their tensors."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.drain_layouts import drain_job_layout, drain_step_layout
from jpnet_hw.layouts import struct_signal
from jpnet_spec.config import AcceleratorConfig

__all__ = ["RowWriter"]


def _place_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return what is kept of the job whose rows are written."""
    names = (
        *("convolution", "first_column", "stored_width"),
        *("target_pixel_words", "target_row_words"),
    )
    members = drain_job_layout(config).members
    return data.StructLayout({name: members[name] for name in names})


class RowWriter(wiring.Component):
    """Follow the drain's steps and tell where in its tensor each row belongs.

    Rows of a vector go to the banks in turn and fill the words there. A row of a map is a pixel's
    channel row; the pixels of all clusters have the same place, each in its own bank.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    jobs : in, one `drain_job_layout` a context
    coming_valid, coming : in, `drain_step_layout`
        The step to follow.
    banks : out, one bit a cluster
        Banks that the row belongs to, a cycle after its step; none unless it ends a window.
    address, column : out
        Its word, counted from the one of the job's first row, and its column.
    window_valid : out
        The row ends a window, stored or not.
    """

    jobs: list[data.View]
    coming_valid: Signal
    coming: data.View
    banks: Signal
    address: Signal
    column: Signal
    window_valid: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "jobs": In(drain_job_layout(config)).array(config.contexts),
                "coming_valid": In(1),
                "coming": In(drain_step_layout(config)),
                "banks": Out(config.clusters),
                "address": Out(config.act_addr_width),
                "column": Out(range(max(2, config.act_columns))),
                "window_valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        valid = Signal()
        step = struct_signal(drain_step_layout(config), reset_less=True)
        job = struct_signal(_place_layout(config), reset_less=True)
        turn = Signal(config.clusters, reset_less=True)
        columns = Signal(unsigned(len(job.stored_width)), reset_less=True)
        lines = Signal(signed(len(job.stored_width) + 6), reset_less=True)
        word, pixel, line = (
            Signal(config.act_addr_width, name=name, reset_less=True)
            for name in ("word", "pixel", "line")
        )
        column = Signal.like(self.column, reset_less=True)
        m.d.sync += [valid.eq(self.coming_valid), step.eq(self.coming)]
        m.d.comb += [
            self.address.eq(word),
            self.column.eq(column),
            self.window_valid.eq(valid & step.window_last),
        ]
        for cluster in range(config.clusters):
            stored = (columns != 0) & (lines > cluster)
            m.d.comb += self.banks[cluster].eq(
                self.window_valid & Mux(job.convolution, stored, turn[cluster])
            )

        full = column == config.act_columns - 1
        with m.If(self.window_valid):
            m.d.sync += turn.eq(turn.rotate_left(1))
            with m.If(job.convolution | turn[-1]):
                m.d.sync += [column.eq(Mux(full, 0, column + 1)), word.eq(word + full)]
            with m.If(job.convolution & step.pixel_last):
                next_pixel = (pixel + job.target_pixel_words)[: config.act_addr_width]
                m.d.sync += [
                    pixel.eq(next_pixel),
                    word.eq(next_pixel),
                    column.eq(job.first_column),
                    columns.eq(Mux(columns == 0, 0, columns - 1)),
                ]
            with m.If(job.convolution & step.line_last):
                next_line = (line + job.target_row_words)[: config.act_addr_width]
                m.d.sync += [
                    line.eq(next_line),
                    pixel.eq(next_line),
                    word.eq(next_line),
                    columns.eq(job.stored_width),
                    lines.eq(lines - config.clusters),
                ]
        source = struct_signal(drain_job_layout(config), name="source")
        with m.Switch(self.coming.context):
            for number, here in enumerate(self.jobs):
                with m.Case(number):
                    m.d.comb += source.eq(here)
        with m.If(self.coming_valid & self.coming.first):
            first_row = source.first_block << exact_log2(config.clusters)
            m.d.sync += [
                *(job[name].eq(source[name]) for name in job.shape().members),
                turn.eq(1 << source.first_block[: exact_log2(config.clusters)]),
                word.eq(0),
                pixel.eq(0),
                line.eq(0),
                column.eq(source.first_column),
                columns.eq(source.stored_width),
                lines.eq(source.stored_height - first_row),
            ]
        return m
