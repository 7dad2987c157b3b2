"""Positions of drained rows modulo the sample stride."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.drain_sequencer import drain_job_layout, drain_step_layout
from jpnet_hw.layouts import struct_signal
from jpnet_spec.config import AcceleratorConfig

__all__ = ["SamplePositions"]


def _stride_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return what is kept of the job whose rows are followed."""
    names = ("pooled", "sample_stride", "sample_cluster", "sample_block", "sample_line")
    members = drain_job_layout(config).members
    return data.StructLayout({name: members[name] for name in names})


class SamplePositions(wiring.Component):
    """Follow the drain's steps and give each cluster's position modulo the stride.

    A position is counted in row-major order before pooling; of a vector it is always 0.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    jobs : in, one `drain_job_layout` a context
    coming_valid, coming : in, `drain_step_layout`
        A step; the one of the next cycle seen from the registers' view.
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
        return 4 + self._config.clusters

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

        # One sum a stage: column, window's row, window's column, then from cluster to cluster.
        stride, cluster_step = job.sample_stride, job.sample_cluster
        residue: Value = total(block, column, stride)
        addends = [Mux(step.lower, job.sample_line, 0), step.right]
        carried: list[tuple[Value, ...]] = []
        stage_inputs: tuple[Value, ...] = (stride, cluster_step, *addends)
        for stage in range(3):
            residue_q = Signal(8, name=f"residue_{stage}", reset_less=True)
            held = [
                Signal(len(value), name=f"held_{stage}_{index}", reset_less=True)
                for index, value in enumerate(stage_inputs)
            ]
            m.d.sync += residue_q.eq(residue)
            m.d.sync += [new.eq(old) for new, old in zip(held, stage_inputs, strict=True)]
            stage_inputs = tuple(held)
            stride, cluster_step = held[0], held[1]
            residue = total(residue_q, held[2 + stage], stride) if stage < 2 else residue_q
        carried.append((residue,))
        for stage in range(config.clusters):
            known = carried[-1]
            signals = [
                Signal(8, name=f"cluster_{stage}_{index}", reset_less=True)
                for index in range(stage + 1)
            ]
            stride_q = Signal(9, name=f"stride_{stage}", reset_less=True)
            step_q = Signal(8, name=f"cluster_step_{stage}", reset_less=True)
            m.d.sync += [stride_q.eq(stride), step_q.eq(cluster_step)]
            m.d.sync += [new.eq(old) for new, old in zip(signals, known, strict=True)]
            stride, cluster_step = stride_q, step_q
            carried.append((*signals, total(signals[-1], step_q, stride_q)))
        m.d.comb += [out.eq(value) for out, value in zip(self.residues, carried[-1], strict=False)]
        return m
