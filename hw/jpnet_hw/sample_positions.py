"""Positions of drained rows modulo the sample stride."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.drain_layouts import drain_job_layout, drain_step_layout
from jpnet_hw.layouts import struct_signal
from jpnet_hw.places import by_cluster, turns_of
from jpnet_spec.config import AcceleratorConfig

__all__ = ["SamplePositions"]


def _stride_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return what is kept of the job whose rows are followed."""
    names = ("pooled", "sample_stride", "sample_cluster", "sample_block", "sample_line")
    members = drain_job_layout(config).members
    return data.StructLayout({name: members[name] for name in names})


class SamplePositions(wiring.Component):
    """Follow the drain's steps and give the position of each cluster's row modulo the stride.

    A position is counted in row-major order before pooling; of a vector it is always 0. It is that
    of the first window that has the row.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    jobs : in, one `drain_job_layout` a context
    coming_valid, coming : in, `drain_step_layout`
        The step to follow.
    residues : out, unsigned(8) a cluster
        Of that step, `latency` cycles later.
    """

    jobs: list[data.View]
    coming_valid: Signal
    coming: data.View
    residues: list[Signal]

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "jobs": In(drain_job_layout(config)).array(config.contexts),
                "coming_valid": In(1),
                "coming": In(drain_step_layout(config)),
                "residues": Out(8).array(config.clusters),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from `coming` to its residues."""
        return 5 + exact_log2(self._config.clusters)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        valid = Signal()
        step = struct_signal(drain_step_layout(config), reset_less=True)
        job = struct_signal(_stride_layout(config), reset_less=True)
        block, column = Signal(8, reset_less=True), Signal(8, reset_less=True)
        m.d.sync += [valid.eq(self.coming_valid), step.eq(self.coming)]

        def total(a: Value, b: Value, stride: Value) -> Value:
            """Return the sum of two residues as a residue."""
            plain = a + b
            return Mux(plain >= stride, plain - stride, plain)[:8]

        with m.If(valid & step.pixel_last):
            m.d.sync += column.eq(total(column, 1 << job.pooled, job.sample_stride))
        with m.If(valid & step.line_last):
            m.d.sync += [
                column.eq(0),
                block.eq(total(block, job.sample_block, job.sample_stride)),
            ]
        for number, source in enumerate(self.jobs):
            with m.If(self.coming_valid & self.coming.first & (self.coming.context == number)):
                m.d.sync += [
                    *(job[name].eq(source[name]) for name in job.shape().members),
                    block.eq(source.sample_start),
                    column.eq(0),
                ]

        # One sum a stage: column and block, window's row, window's column.
        turn: Value = step.turn
        stride, cluster_step = Value.cast(job.sample_stride), Value.cast(job.sample_cluster)
        residue: Value = total(block, column, stride)
        waiting: list[Value] = [Mux(step.lower, job.sample_line, 0), step.right]
        for stage in range(3):
            carried = [stride, cluster_step, turn, residue, *waiting]
            stride, cluster_step, turn, residue, *waiting = self._register(
                m, carried, f"place_{stage}"
            )
            if waiting:
                residue = total(residue, waiting.pop(0), stride)

        # Twice as many places a stage.
        residues = [residue]
        for stage in range(exact_log2(config.clusters)):
            further = [total(known, cluster_step, stride) for known in residues]
            doubled = total(cluster_step, cluster_step, stride)
            carried = [stride, doubled, turn, *residues, *further]
            stride, cluster_step, turn, *residues = self._register(m, carried, f"places_{stage}")
        turned = by_cluster(m, residues, turn, turns_of(config), name="residue")
        for out, residue in zip(self.residues, self._register(m, turned, "turned"), strict=True):
            m.d.comb += out.eq(residue)
        return m

    def _register(self, m: Module, values: Sequence[Value], name: str) -> list[Value]:
        """Return the values a cycle later."""
        kept: list[Value] = []
        for index, value in enumerate(values):
            value_q = Signal(len(value), name=f"{name}_{index}", reset_less=True)
            m.d.sync += value_q.eq(value)
            kept.append(value_q)
        return kept
