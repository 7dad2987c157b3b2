"""Drain: accumulators of all lanes to activation rows and thresholds."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.context_space import accumulator_place
from jpnet_hw.drain_lane import DrainLane
from jpnet_hw.drain_layouts import drain_job_layout, drain_step_layout
from jpnet_hw.drain_sequencer import DrainSequencer
from jpnet_hw.layouts import (
    acc_read_layout,
    carried_read_layout,
    load_layout,
    row_write_layout,
    struct_signal,
)
from jpnet_hw.places import by_cluster, turns_of
from jpnet_hw.requantiser import Requantiser
from jpnet_hw.row_writer import RowWriter
from jpnet_hw.sample_positions import SamplePositions
from jpnet_hw.threshold import ThresholdCounter, is_counting
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory
from jpnet_spec.topn import ThresholdMode

__all__ = ["Drain"]


def _place_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return which rows of the activation memory a row is written to."""
    members = row_write_layout(config).members
    return data.StructLayout({name: members[name] for name in ("banks", "address", "column")})


class Drain(wiring.Component):
    """Reads, re-arms, adds, requantises, pools, writes and counts one row per cycle or two.

    A row holds one output of each lane. Of a vector, the groups' and clusters' sums are added; of a
    map, each cluster's groups' sums, and the row of every cluster is an output of its own, which
    belongs to the bank of the place that the cluster takes in the context. They are requantised,
    counted for the threshold, and the largest of each pooling window is written to the context's
    activation memory. Where windows overlap, a row is read once for each window that has it,
    counted at the first and re-armed at the last. The oldest image is served first; a job's rows
    may follow another's without a gap. Nothing stalls.

    To the sums of a map a tensor of its shape may be added, which is read from the activation
    memory on the way, or other sums. The outputs of a job with two tensors go through the
    requantisers again, between the rows, for the second tensor: the one that is counted. In both
    cases, but that of a tensor from memory, a row takes two cycles.

    From `request` to the first `acc_read_valid` 3 cycles; from a row's `acc_read_valid` to its
    place in `rows` `latency` cycles; from the last row to `done` 1 cycle where no threshold is
    counted or its count goes on, otherwise 2.

    Parameters
    ----------
    config
        The accelerator.
    read_latency
        Cycles from `acc_read_valid` to that row's `sums`, at least 4.
    carried_latency
        Cycles from `carried_read` to that row's `carried_rows`, at most 4.

    Members
    -------
    clear : in
        Pulse: re-arm all accumulators of all contexts, writing nothing. Only without jobs.
    clear_busy : out
        From the cycle after `clear` until every accumulator is re-armed.
    request : in, one bit a context
        Level; the context's sums are complete in the next cycle. Held until its `done`, in whose
        cycle it is low.
    jobs : in, one `drain_job_layout` a context
        Held stable from the request until `done`.
    done : out, one bit a context
        One-cycle pulse: all rows are written and the threshold is about to be known.
    theta : out, one unsigned(7) a context
        The threshold; valid `THETA_CYCLES` after the context's `done`.
    oldest : in, one bit a context
        The context of the oldest image, in the next cycle: of several requests the oldest image's
        is served.
    written : out, one bit a context
        Level, from the cycle after the last row until `done`: only the threshold is missing.
    load_valid, load : in, `load_layout`
        Channel parameters, `param_layout` in the low bits of the data.
    acc_read_valid, acc_read : out, one `acc_read_layout` a cluster
        Row to read, and to re-arm or keep, for all lanes.
    sums : in, per cluster an array signed(acc_width) of groups and lanes
        Those rows' sums, `read_latency` cycles later.
    carried_read, carried : out, `carried_read_layout`
        Row to read of the tensor that is added.
    carried_rows : in, per bank an array signed(8) of the lanes
        That row, `carried_latency` cycles later.
    row_valid, row : out, `row_write_layout`
        Finished row; of a map, one of each cluster whose bank it is for.
    """

    THETA_CYCLES = ThresholdCounter.ALMOST_CYCLES - 1

    clear: Signal
    clear_busy: Signal
    request: Signal
    jobs: list[data.View]
    done: Signal
    theta: list[Signal]
    oldest: Signal
    written: Signal
    load_valid: Signal
    load: data.View
    acc_read_valid: Signal
    acc_read: list[data.View]
    sums: list[data.View]
    carried_read: Signal
    carried: data.View
    carried_rows: list[data.View]
    row_valid: Signal
    row: data.View

    def __init__(
        self, config: AcceleratorConfig, *, read_latency: int, carried_latency: int
    ) -> None:
        self._config = config
        self._read_latency = read_latency
        self._carried_latency = carried_latency
        self._lanes = [DrainLane(config) for _ in range(config.lanes)]
        # Of each stage from 1 on; the address counts from the job's first word up to the last one.
        self._places = [
            struct_signal(_place_layout(config), name=f"place_{number}", reset_less=True)
            for number in range(self.latency + 1)
        ]
        row = data.ArrayLayout(signed(config.acc_width), config.lanes)
        sums = data.ArrayLayout(row, config.groups)
        carried_row = data.ArrayLayout(signed(8), config.lanes)
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
                "acc_read": Out(acc_read_layout(config)).array(config.clusters),
                "sums": In(sums).array(config.clusters),
                "carried_read": Out(1),
                "carried": Out(carried_read_layout(config)),
                "carried_rows": In(carried_row).array(config.clusters),
                "row_valid": Out(1),
                "row": Out(row_write_layout(config)),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a row's `acc_read_valid` to its `row_valid`."""
        return self._read_latency + self._lanes[0].latency + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.sequencer = sequencer = DrainSequencer(config)
        m.d.comb += [
            sequencer.clear.eq(self.clear),
            sequencer.request.eq(self.request),
            sequencer.oldest.eq(self.oldest),
            sequencer.done.eq(self.done),
            *(here.eq(job) for here, job in zip(sequencer.jobs, self.jobs, strict=True)),
            self.clear_busy.eq(sequencer.clear_busy),
            self.acc_read_valid.eq(sequencer.read_valid),
        ]
        for cluster, acc_read in enumerate(self.acc_read):
            memory, row = accumulator_place(
                config, sequencer.o.context, sequencer.read_rows[cluster]
            )
            m.d.comb += [
                acc_read.context.eq(memory),
                acc_read.row.eq(row),
                acc_read.keep.eq(sequencer.keep[cluster]),
            ]
        # Stage 0 is the cycle of `acc_read_valid`, stage `latency` that of `row_valid`.
        valid_q = Signal(self.latency + 1)
        again = Signal()
        first_stage = struct_signal(drain_step_layout(config), name="stage_0")
        valids = Cat(sequencer.o_valid | again, valid_q)
        m.d.sync += valid_q.eq(valids)
        stages = [first_stage]
        for number in range(1, self.latency + 2):
            stage = struct_signal(
                drain_step_layout(config), name=f"stage_{number}", reset_less=True
            )
            m.d.sync += stage.eq(stages[-1])
            stages.append(stage)
        # A row's outputs leave the requantisers just when its second step brings it there again.
        looped = stages[Requantiser.LATENCY]
        m.d.comb += [
            first_stage.eq(Mux(again, Value.cast(looped), Value.cast(sequencer.o))),
        ]
        before_loop = stages[Requantiser.LATENCY - 1]
        m.d.sync += again.eq(valids[Requantiser.LATENCY - 1] & ~before_loop.final)
        with m.If(again):
            m.d.comb += [first_stage.again.eq(1), first_stage.final.eq(1)]
        self._build_places(m, valids, stages)
        self._build_addends(m, valids, stages)
        self._build_lanes(m, stages)
        self._build_threshold(m, valids, stages)
        self._build_rows(m, valids, stages)
        return m

    def _job(self, stage: data.View, name: str) -> Value:
        """Return a field of the job whose row is in a stage."""
        value: Value = self.jobs[0][name]
        for number, job in enumerate(self.jobs[1:], start=1):
            value = Mux(stage.context == number, job[name], value)
        return value

    def _build_places(self, m: Module, valids: Value, stages: list[data.View]) -> None:
        """Find each row's place in its tensor; before it is written, add where the tensor lies."""
        config = self._config
        m.submodules.writer = writer = RowWriter(config)
        m.d.comb += [
            writer.coming_valid.eq(valids[0] & ~stages[0].again),
            writer.coming.eq(stages[0]),
            *(here.eq(job) for here, job in zip(writer.jobs, self.jobs, strict=True)),
        ]
        for number, place in enumerate(self._places[2:], start=2):
            m.d.sync += place.eq(self._places[number - 1])
        before, place = stages[self.latency - 1], self._places[self.latency]
        base = Mux(before.again, self._job(before, "second_base"), self._job(before, "target_base"))
        m.d.sync += place.address.eq(self._places[self.latency - 1].address + base)
        m.d.comb += self._places[1].eq(self._places[1 + Requantiser.LATENCY])
        with m.If(~stages[1].again):
            m.d.comb += [
                self._places[1].banks.eq(writer.banks),
                self._places[1].address.eq(writer.address),
                self._places[1].column.eq(writer.column),
            ]

    def _build_addends(self, m: Module, valids: Value, stages: list[data.View]) -> None:
        """Read what is added to a row early enough, and tell the lanes that and by how much."""
        meet = self._read_latency + self._lanes[0].tree_latency
        carried = meet + DrainLane.CARRIED_DELAY
        asked = carried - self._carried_latency - 1
        adding, summed = Signal(reset_less=True), Signal(reset_less=True)
        multiplier = Signal(16, reset_less=True)
        step, place = stages[asked], self._places[asked]
        before_sums = stages[meet - 1]
        before_added = stages[meet + Requantiser.ADDEND_DELAY - 1]
        either = self._job(before_sums, "carried") | self._job(before_sums, "summed")
        m.d.sync += [
            self.carried_read.eq(valids[asked] & ~step.again & self._job(step, "carried")),
            self.carried.context.eq(step.context),
            self.carried.address.eq(place.address + self._job(step, "carried_base")),
            self.carried.column.eq(place.column),
            adding.eq(~before_sums.again & either),
            multiplier.eq(
                Mux(before_added.again, 0, self._job(before_added, "carried_multiplier"))
            ),
            summed.eq(self._job(stages[carried - 1], "summed")),
        ]
        for number, lane in enumerate(self._lanes):
            m.d.comb += [
                lane.again.eq(stages[meet].again),
                lane.adding.eq(adding),
                lane.summed.eq(summed),
                lane.carried_turn.eq(stages[carried - 1].turn),
                lane.addend_multiplier.eq(multiplier),
            ]
            for bank, rows in enumerate(self.carried_rows):
                m.d.comb += lane.carried[bank].eq(rows[number])

    def _build_lanes(self, m: Module, stages: list[data.View]) -> None:
        """Load the lanes' parameters, and give each row its sums, parameters and shift."""
        config = self._config
        meet = self._read_latency + self._lanes[0].tree_latency
        before_param = stages[meet - DrainLane.PARAM_CYCLES - 1]
        param_row = Signal(range(config.param_depth), reset_less=True)
        together = Signal(reset_less=True)
        before_sums = stages[self._read_latency - 1]
        first_param = Mux(
            before_param.again,
            self._job(before_param, "second_params"),
            self._job(before_param, "param_base"),
        )
        m.d.sync += [
            param_row.eq(first_param + before_param.channel_row),
            together.eq(~self._job(before_sums, "convolution")),
        ]
        scaled = stages[meet + Requantiser.SHIFT_DELAY - 1]
        shift = Signal(6, reset_less=True)
        m.d.sync += shift.eq(
            Mux(scaled.again, self._job(scaled, "second_shift"), self._job(scaled, "shift"))
        )
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
                lane.together.eq(together),
                lane.turn.eq(stages[self.latency - 2].turn),
            ]
            for sums, all_sums in zip(lane.sums, self.sums, strict=True):
                m.d.comb += [
                    sums[group].eq(all_sums[group][number]) for group in range(config.groups)
                ]

    def _build_threshold(self, m: Module, valids: Value, stages: list[data.View]) -> None:
        """Count magnitudes and report each job's end."""
        m.submodules.threshold = threshold = ThresholdCounter(self._config)
        sampled = self._build_sampled(m, valids, stages)
        counted, before = stages[self.latency - 1], stages[self.latency - 2]
        coming, valid = Signal(), Signal()
        every = Signal(reset_less=True)
        live = Signal(self._config.clusters, reset_less=True)
        places = [before.live[number] for number in range(self._config.clusters)]
        clusters = by_cluster(m, places, before.turn, turns_of(self._config), name="live")
        before_mode = self._job(before, "threshold_mode")
        m.d.sync += [
            valid.eq(coming),
            every.eq((before_mode == ThresholdMode.EXACT) & before.counted),
            live.eq(Cat(clusters)),
        ]
        lanes = len(self._lanes)
        for cluster in range(self._config.clusters):
            for number, lane in enumerate(self._lanes):
                place = cluster * lanes + number
                m.d.comb += [
                    threshold.counted[place].eq(live[cluster] & (sampled[place] | every)),
                    threshold.magnitudes[place].eq(lane.magnitudes[cluster]),
                ]
        m.d.comb += [
            coming.eq(valids[self.latency - 2] & before.final & is_counting(before_mode)),
            threshold.valid.eq(valid),
            threshold.first.eq(counted.first),
            threshold.last.eq(counted.last),
            threshold.opens.eq(self._job(counted, "first_tile")),
            threshold.closes.eq(self._job(counted, "last_tile")),
            threshold.coming_last.eq(coming & before.last),
            threshold.context.eq(counted.context),
            threshold.winners.eq(self._job(counted, "winners")),
        ]
        written_row = stages[self.latency]
        ended = valids[self.latency] & written_row.last & written_row.final
        for number, job in enumerate(self.jobs):
            counting = is_counting(job.threshold_mode)
            constant = Mux(job.threshold_mode == ThresholdMode.STATIC, job.static_threshold, 0)
            last = ended & (written_row.context == number)
            found = threshold.almost & (stages[-1].context == number)
            constant_q = Signal(7, name=f"constant_{number}", reset_less=True)
            counting_q = Signal(name=f"counting_{number}", reset_less=True)
            m.d.comb += self.theta[number].eq(Mux(counting_q, threshold.theta, constant_q))
            m.d.sync += self.done[number].eq(Mux(counting & job.last_tile, found, last))
            with m.If(self.done[number]):
                m.d.sync += [constant_q.eq(constant), counting_q.eq(counting)]
            with m.If(last):
                m.d.sync += self.written[number].eq(1)
            with m.Elif(self.done[number]):
                m.d.sync += self.written[number].eq(0)

    def _build_sampled(self, m: Module, valids: Value, stages: list[data.View]) -> Signal:
        """Return which outputs the sampling pattern counts, as their magnitudes come."""
        config = self._config
        m.submodules.positions = positions = SamplePositions(config)
        # The residues come a cycle before the magnitudes; a long pattern of clusters starts later.
        start = self.latency - 2 - positions.latency
        coming = stages[start]
        stride = Signal(9, reset_less=True)
        sampled = Signal(config.lanes * config.clusters, reset_less=True)
        m.d.comb += [
            positions.coming_valid.eq(valids[start] & coming.final),
            positions.coming.eq(coming),
        ]
        m.d.comb += [here.eq(job) for here, job in zip(positions.jobs, self.jobs, strict=True)]
        m.d.sync += stride.eq(self._job(stages[self.latency - 3], "sample_stride"))
        for cluster, residue in enumerate(positions.residues):
            for number, lane in enumerate(self._lanes):
                total = lane.phase + residue
                m.d.sync += sampled[cluster * config.lanes + number].eq(
                    stages[self.latency - 2].counted & ((total == 0) | (total == stride))
                )
        return sampled

    def _build_rows(self, m: Module, valids: Value, stages: list[data.View]) -> None:
        """Pool and write: the largest output of each window, where it belongs."""
        config = self._config
        step = stages[self.latency]
        place = self._places[self.latency]
        vector = Signal(reset_less=True)
        m.d.sync += vector.eq(~self._job(stages[self.latency - 1], "convolution"))
        m.d.comb += [
            self.row_valid.eq(valids[self.latency] & step.window_last),
            self.row.context.eq(step.context),
            self.row.banks.eq(place.banks),
            self.row.address.eq(place.address),
            self.row.column.eq(place.column),
        ]
        for number, lane in enumerate(self._lanes):
            largest = []
            for cluster in range(config.clusters):
                act = lane.acts[cluster]
                best = Signal(signed(8), name=f"best_{number}_{cluster}", reset_less=True)
                greater = Signal(signed(8), name=f"greater_{number}_{cluster}")
                beaten = step.window_first | (step.live[cluster] & (act > best))
                m.d.comb += greater.eq(Mux(beaten, act, best))
                m.d.sync += best.eq(greater)
                largest.append(greater)
            for cluster, value in enumerate(largest):
                m.d.comb += self.row.acts[cluster][number].eq(Mux(vector, largest[0], value))
