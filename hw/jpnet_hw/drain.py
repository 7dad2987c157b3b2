"""Drain: accumulators of all lanes to activation rows and thresholds."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.arbitration import first_from, place_of
from jpnet_hw.drain_lane import DrainLane
from jpnet_hw.layouts import (
    acc_read_layout,
    context_shape,
    load_layout,
    row_write_layout,
    struct_signal,
)
from jpnet_hw.requantiser import Requantiser
from jpnet_hw.threshold import ThresholdCounter
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory
from jpnet_spec.topn import ThresholdMode

__all__ = ["Drain", "drain_job_layout"]


def drain_job_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Fields of an instruction that the drain needs."""
    return data.StructLayout(
        {
            "last_row": unsigned(config.acc_addr_width),
            "target_base": unsigned(config.act_addr_width),
            "param_base": unsigned((config.param_depth - 1).bit_length()),
            "shift": unsigned(6),
            "winners": unsigned(24),
            "threshold_mode": unsigned(2),
            "static_threshold": unsigned(7),
        }
    )


def _stage_layout(config: AcceleratorConfig) -> data.StructLayout:
    return data.StructLayout(
        {
            "context": context_shape(config),
            "row": unsigned(config.acc_addr_width),
            "first": unsigned(1),
            "last": unsigned(1),
        }
    )


def _is_counting(mode: Value) -> Value:
    return (mode == ThresholdMode.EXACT) | (mode == ThresholdMode.SAMPLED)


class Drain(wiring.Component):
    """Reads, re-arms, adds, requantises, writes and counts one row of outputs per cycle.

    A row holds one output of each lane. The groups' and clusters' sums are added in a pipelined
    tree, then requantised, written to the context's activation memory and counted for the
    threshold. The oldest image is served first; a job's rows may follow another's without a gap.
    Nothing stalls.

    From `request` to the first `acc_read_valid` 1 cycle; from a row's `acc_read_valid` to its
    `row_valid` `latency` cycles; from the last `row_valid` to `done` 1 cycle in the modes NONE and
    STATIC, `THRESHOLD_CYCLES` in the modes EXACT and SAMPLED.

    Parameters
    ----------
    config
        The accelerator.
    read_latency
        Cycles from `acc_read_valid` to that row's `sums`, at least 3.

    Members
    -------
    clear : in
        Pulse: re-arm all accumulators of all contexts, writing nothing. Only without jobs.
    clear_busy : out
        From the cycle after `clear` until every accumulator is re-armed.
    request : in, one bit a context
        Level; the context's sums are complete. Held until its `done`, then low for a cycle.
    jobs : in, one `drain_job_layout` a context
        Held stable from the request until `done`.
    done : out, one bit a context
        One-cycle pulse: all rows are written and the threshold is known.
    theta : out, one unsigned(7) a context
        The threshold; valid with the context's `done`.
    oldest : in, one bit a context
        The context of the oldest image: of several requests the oldest image's is served.
    written : out, one bit a context
        Level, from the cycle after the last `row_valid` until `done`: only the threshold is
        missing.
    load_valid, load : in, `load_layout`
        Channel parameters, `param_layout` in the low bits of the data.
    acc_read_valid, acc_read : out, `acc_read_layout`
        Row to read and re-arm, for all lanes.
    sums : in, per cluster an array signed(acc_width) of groups and lanes
        That row's sums, `read_latency` cycles later.
    row_valid, row : out, `row_write_layout`
        Finished row.
    row_index : out, unsigned(acc_addr_width)
        Its number within the tensor.
    """

    THRESHOLD_CYCLES = ThresholdCounter.LATENCY - 1

    clear: Signal
    clear_busy: Signal
    request: Signal
    oldest: Signal
    jobs: list[data.View]
    done: Signal
    theta: list[Signal]
    written: Signal
    load_valid: Signal
    load: data.View
    acc_read_valid: Signal
    acc_read: data.View
    sums: list[data.View]
    row_valid: Signal
    row: data.View
    row_index: Signal

    def __init__(self, config: AcceleratorConfig, *, read_latency: int) -> None:
        assert read_latency >= 3, "parameters are read while the sums are"
        self._config = config
        self._read_latency = read_latency
        self._lanes = [DrainLane(config) for _ in range(config.lanes)]
        row = data.ArrayLayout(signed(config.acc_width), config.lanes)
        sums = data.ArrayLayout(row, config.groups)
        super().__init__(
            {
                "clear": In(1),
                "clear_busy": Out(1),
                "request": In(config.contexts),
                "oldest": In(config.contexts),
                "jobs": In(drain_job_layout(config)).array(config.contexts),
                "done": Out(config.contexts),
                "theta": Out(7).array(config.contexts),
                "written": Out(config.contexts),
                "load_valid": In(1),
                "load": In(load_layout(config)),
                "acc_read_valid": Out(1),
                "acc_read": Out(acc_read_layout(config)),
                "sums": In(sums).array(config.clusters),
                "row_valid": Out(1),
                "row": Out(row_write_layout(config)),
                "row_index": Out(config.acc_addr_width),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a row's `acc_read_valid` to its `row_valid`."""
        return self._read_latency + self._lanes[0].latency + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        issue_valid, issue = self._build_sequencer(m)
        # Stage 0 is the cycle of `acc_read_valid`, stage `latency` that of `row_valid`.
        valid_q = Signal(self.latency + 1)
        valids = Cat(issue_valid, valid_q)
        m.d.sync += valid_q.eq(valids)
        stages = [issue]
        for number in range(1, self.latency + ThresholdCounter.LATENCY):
            stage = struct_signal(
                _stage_layout(self._config), name=f"stage_{number}", reset_less=True
            )
            m.d.sync += stage.eq(stages[-1])
            stages.append(stage)
        self._build_lanes(m, stages)
        self._build_threshold(m, valids, stages)
        self._build_row(m, valids, stages)
        return m

    def _job(self, stage: data.View, name: str) -> Value:
        """Return a field of the job whose row is in a stage."""
        value: Value = self.jobs[0][name]
        for number, job in enumerate(self.jobs[1:], start=1):
            value = Mux(stage.context == number, job[name], value)
        return value

    def _build_sequencer(self, m: Module) -> tuple[Signal, data.View]:
        """Choose jobs in turn and count rows, or sweep all rows to clear them."""
        config = self._config
        issue = struct_signal(_stage_layout(config))
        active = Signal()
        left = Signal(config.acc_addr_width, reset_less=True)
        taken, waiting = Signal(config.contexts), Signal(config.contexts)
        other, chosen = Signal(context_shape(config)), Signal(context_shape(config))
        current = struct_signal(_stage_layout(config))
        first = Signal(config.contexts)
        m.d.comb += [
            issue.eq(current),
            issue.last.eq(left == 0),
            waiting.eq(self.request & ~taken),
            other.eq(current.context + 1 if config.contexts > 1 else 0),
            first.eq(first_from(waiting, self.oldest)),
            chosen.eq(place_of(first)),
            self.acc_read_valid.eq(active | self.clear_busy),
            self.acc_read.context.eq(current.context),
            self.acc_read.row.eq(current.row),
        ]
        m.d.sync += [
            current.first.eq(0),
            current.row.eq(current.row + 1),
            left.eq(left - 1),
            taken.eq(taken & ~self.done),
        ]
        with m.If(self.clear):
            m.d.sync += [self.clear_busy.eq(1), current.context.eq(0), current.row.eq(0)]
            m.d.sync += left.eq(-1)
        with m.Elif(self.clear_busy & issue.last):
            m.d.sync += current.context.eq(other)
            m.d.sync += self.clear_busy.eq(current.context != config.contexts - 1)
        with m.Elif(~self.clear_busy & (~active | issue.last)):
            m.d.sync += active.eq(waiting.any())
            with m.If(waiting.any()):
                m.d.sync += [current.context.eq(chosen), current.row.eq(0), current.first.eq(1)]
            for number, job in enumerate(self.jobs):
                with m.If(waiting[number] & (chosen == number)):
                    m.d.sync += [left.eq(job.last_row), taken[number].eq(1)]
        return active, issue

    def _build_lanes(self, m: Module, stages: list[data.View]) -> None:
        """Load the lanes' parameters, and give each row its sums, parameters and shift."""
        config = self._config
        meet = self._read_latency + self._lanes[0].tree_latency
        before_param = stages[meet - DrainLane.PARAM_CYCLES - 1]
        param_row = Signal(range(config.param_depth), reset_less=True)
        m.d.sync += param_row.eq(self._job(before_param, "param_base") + before_param.row)
        shift = self._job(stages[meet + Requantiser.SHIFT_DELAY], "shift")
        load_q = struct_signal(load_layout(config), reset_less=True)
        load_valid_q = Signal()
        m.d.sync += [
            load_q.eq(self.load),
            load_valid_q.eq(self.load_valid & (self.load.memory == Memory.PARAM)),
        ]
        for number, lane in enumerate(self._lanes):
            m.submodules[f"lane_{number}"] = lane
            m.d.comb += [
                lane.w_en.eq(load_valid_q & (load_q.lane == number)),
                lane.w_addr.eq(load_q.address),
                lane.w_data.eq(load_q.data),
                lane.param_row.eq(param_row),
                lane.shift.eq(shift),
            ]
            for index in range(config.clusters * config.groups):
                cluster, group = divmod(index, config.groups)
                m.d.comb += lane.sums[index].eq(self.sums[cluster][group][number])

    def _build_threshold(self, m: Module, valids: Value, stages: list[data.View]) -> None:
        """Count magnitudes and report each job's end."""
        m.submodules.threshold = threshold = ThresholdCounter(self._config)
        counted = stages[self.latency - 1]
        before = stages[self.latency - 2]
        mode = Signal(ThresholdMode, reset_less=True)
        m.d.sync += mode.eq(self._job(before, "threshold_mode"))
        for number, lane in enumerate(self._lanes):
            m.d.comb += [
                threshold.counted[number].eq(lane.sampled | (mode == ThresholdMode.EXACT)),
                threshold.magnitudes[number].eq(lane.magnitude),
            ]
        m.d.comb += [
            threshold.valid.eq(valids[self.latency - 1] & _is_counting(mode)),
            threshold.first.eq(counted.first),
            threshold.last.eq(counted.last),
            threshold.winners.eq(self._job(counted, "winners")),
        ]
        written_row = stages[self.latency]
        for number, job in enumerate(self.jobs):
            counting = _is_counting(job.threshold_mode)
            constant = Mux(job.threshold_mode == ThresholdMode.STATIC, job.static_threshold, 0)
            last = valids[self.latency] & written_row.last & (written_row.context == number)
            found = threshold.almost & (stages[-2].context == number)
            m.d.comb += self.theta[number].eq(Mux(counting, threshold.theta, constant))
            m.d.sync += self.done[number].eq(Mux(counting, found, last))
            with m.If(last):
                m.d.sync += self.written[number].eq(1)
            with m.Elif(self.done[number]):
                m.d.sync += self.written[number].eq(0)

    def _build_row(self, m: Module, valids: Value, stages: list[data.View]) -> None:
        """Write a row to its place: rows go to the clusters in turn and fill the words there."""
        config = self._config
        before = stages[self.latency - 1]
        place = struct_signal(row_write_layout(config), name="place", reset_less=True)
        column_bits, cluster_bits = exact_log2(config.act_columns), exact_log2(config.clusters)
        local = before.row >> cluster_bits
        m.d.sync += [
            self.row_index.eq(before.row),
            place.context.eq(before.context),
            place.column.eq(local[:column_bits]),
            place.cluster.eq(before.row[:cluster_bits]),
            place.address.eq(self._job(before, "target_base") + (local >> column_bits)),
        ]
        m.d.comb += [self.row_valid.eq(valids[self.latency]), self.row.eq(place)]
        m.d.comb += [self.row.acts[number].eq(lane.act) for number, lane in enumerate(self._lanes)]
