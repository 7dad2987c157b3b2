"""One image in flight: the sequence of its layers."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.drain import Drain
from jpnet_hw.drain_layouts import drain_job_layout
from jpnet_hw.instruction_fetch import InstructionFetch, instruction_layout
from jpnet_hw.layouts import load_layout, struct_signal
from jpnet_hw.skip_job import skip_job_layout
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.instruction import THRESHOLD_SLOTS, LayerFlag, Opcode

__all__ = ["ImageContext"]

_DRAIN_FLAGS = {
    "first_tile": LayerFlag.FIRST_TILE,
    "last_tile": LayerFlag.LAST_TILE,
    "carried": LayerFlag.CARRIED,
    "summed": LayerFlag.SUMMED,
    "second": LayerFlag.SECOND,
}
"""Of the drain's job, those that an instruction has as they are."""


class ImageContext(wiring.Component):
    """Takes one image after another through all instructions of the program.

    Has an instruction memory of its own and remembers the thresholds. For each instruction: the
    skippers stream the survivors, the clusters report that every product is summed, the drain
    writes the output and finds its threshold, and the next instruction starts in the very cycle of
    the drain's `done`. An instruction that keeps its sums is not drained; the next one starts three
    cycles after the clusters' report. After the instruction with the flag RESULT the result is read
    out, then the next image begins.

    Transitions: `cluster_done` to `request` 0 cycles, `drain_done` to `begin` 0 cycles,
    `image_ready` or `result_done` to the first instruction's `begin` 1 cycle.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    start : in
        Pulse at the beginning of a run, only while no image is in flight: fetch instruction 0.
    instructions : in
        Instructions of the program, at least 1 (the loader checks that); held stable.
    act_limit, acc_limit : in
        Words and accumulator rows that the image has; held stable.
    blocks : in
        Blocks of streamed lists, 0 where all are resident; held stable.
    load_valid, load : in, `load_layout`
        Instruction words.
    block_ready : in
        Level: the lists of the next instruction are in the lanes' memories; it begins only then.
    block_done : out
        One-cycle pulse: all products of the last instruction that reads its block are summed.
    input_free : out
        Level: the image's place may be overwritten. Falls after the image's first beat.
    arriving : in
        Pulse: the first beat of an image was taken.
    arrived : in, per cluster
        Words of the image that are completely in the cluster's bank.
    image_ready : in
        Pulse, after the image's last beat was taken: the image is complete. The first instruction
        starts with the first beat and follows the words as they come.
    result_valid : out
        Level: the result lies in memory and may be read.
    result_done : in
        Pulse, while `result_valid`: the last row was received.
    begin : out
        Pulse to the skippers: start the job.
    skip_jobs : out, one `skip_job_layout` a cluster
        The skippers' jobs, held until the next `begin`.
    reading, waiting : in, one bit a cluster
        From the skippers, this context's.
    cluster_done : in, one bit a cluster
        This context's level `done` of each cluster: every product is summed.
    arm : out
        One-cycle pulse to the clusters at the beginning of a drain: fall back, `done`.
    request, job : out
        To the drain, this context's; the request is that of the next cycle.
    drain_done, drain_theta, drain_written : in
        From the drain, this context's; the threshold follows `Drain.THETA_CYCLES` after `done`.
    error_valid, error : out
        One-cycle pulse: a wrong instruction was fetched. The context then makes no progress until
        `flush` or `start`.
    computing, draining, topn : out
        Levels, at most one of them: summing, draining rows, only waiting for the threshold. None
        while the sums wait for the image to come.
    layer : out, unsigned(10)
        Number of the instruction that computes or drains.
    theta_valid, theta, theta_layer : out
        Trace: one-cycle pulse with the threshold of each layer and its last instruction's number.
    """

    start: Signal
    instructions: Signal
    act_limit: Signal
    acc_limit: Signal
    blocks: Signal
    load_valid: Signal
    load: data.View
    block_ready: Signal
    block_done: Signal
    input_free: Signal
    arriving: Signal
    arrived: list[Signal]
    image_ready: Signal
    result_valid: Signal
    result_done: Signal
    begin: Signal
    skip_jobs: list[data.View]
    reading: Signal
    waiting: Signal
    cluster_done: Signal
    arm: Signal
    request: Signal
    job: data.View
    drain_done: Signal
    drain_theta: Signal
    drain_written: Signal
    error_valid: Signal
    error: Signal
    computing: Signal
    draining: Signal
    topn: Signal
    layer: Signal
    theta_valid: Signal
    theta: Signal
    theta_layer: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        arrived = In(config.act_addr_width + 1)
        super().__init__(
            {
                "start": In(1),
                "instructions": In(range(config.program_depth + 1)),
                "act_limit": In(config.act_addr_width + 1),
                "acc_limit": In(config.acc_row_width + 1),
                "blocks": In(range(config.program_depth + 2)),
                "load_valid": In(1),
                "load": In(load_layout(config)),
                "block_ready": In(1),
                "block_done": Out(1),
                "input_free": Out(1),
                "arriving": In(1),
                "arrived": arrived.array(config.clusters),
                "image_ready": In(1),
                "result_valid": Out(1),
                "result_done": In(1),
                "begin": Out(1),
                "skip_jobs": Out(skip_job_layout(config)).array(config.clusters),
                "reading": In(config.clusters),
                "waiting": In(config.clusters),
                "cluster_done": In(config.clusters),
                "arm": Out(1),
                "request": Out(1),
                "job": Out(drain_job_layout(config)),
                "drain_done": In(1),
                "drain_theta": In(7),
                "drain_written": In(1),
                "error_valid": Out(1),
                "error": Out(ErrorCode),
                "computing": Out(1),
                "draining": Out(1),
                "topn": Out(1),
                "layer": Out(10),
                "theta_valid": Out(1),
                "theta": Out(7),
                "theta_layer": Out(10),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.fetch = fetch = InstructionFetch(config)
        running = struct_signal(instruction_layout(), reset_less=True)
        prepared, accept, summing = Signal(), Signal(), Signal()
        # Neither prepared nor summing, out of a register: it goes to all that is prepared, which
        # takes what is fetched until that is valid.
        preparing = Signal(init=1)
        gathers = (fetch.o.flags & LayerFlag.GATHER).any()
        m.d.comb += [
            fetch.load_valid.eq(self.load_valid),
            fetch.load.eq(self.load),
            fetch.instructions.eq(self.instructions),
            fetch.act_limit.eq(self.act_limit),
            fetch.acc_limit.eq(self.acc_limit),
            fetch.blocks.eq(self.blocks),
            fetch.start.eq(self.start),
            fetch.take.eq(self.begin),
            self.error_valid.eq(fetch.error_valid),
            self.error.eq(fetch.error),
        ]
        # Kept a cycle late, before anything asks: what begins is decided late, and this is wide.
        begun = Signal()
        m.d.sync += begun.eq(self.begin)
        with m.If(begun):
            m.d.sync += [
                running.eq(fetch.o),
                self.job.last_row.eq(fetch.o.rows - 1),
                self.job.last_tap.eq(Mux(fetch.o.pool_window == 0, 0, fetch.o.pool_window - 1)),
                self.job.convolution.eq((fetch.o.opcode == Opcode.CONVOLUTION) & ~gathers),
                self.job.pooled.eq(fetch.o.pool_stride == 2),
                *(
                    self.job[name].eq((fetch.o.flags & flag).any())
                    for name, flag in _DRAIN_FLAGS.items()
                ),
            ]
        with m.If(self.begin):
            m.d.sync += [self.layer.eq(fetch.index), prepared.eq(0)]
        with m.Elif(accept):
            m.d.sync += prepared.eq(1)
        with m.If(self.start):
            m.d.sync += prepared.eq(0)
        copied = self.job.shape().members.keys() & running.shape().members.keys()
        m.d.comb += [
            accept.eq(fetch.valid & preparing),
            *(self.job[name].eq(running[name]) for name in sorted(copied)),
        ]
        summed = self._build_sequence(m, running, (prepared, summing))
        m.d.sync += preparing.eq(
            (~(prepared | accept) | self.start) & ~self.begin & (~summing | summed)
        )
        m.d.comb += self.computing.eq(summing & ~self.waiting.any())
        slot = self._build_skip_jobs(m, fetch, preparing)
        self._build_thresholds(m, slot, running)
        return m

    def _build_sequence(
        self,
        m: Module,
        running: data.View,
        levels: tuple[Signal, Signal],
    ) -> Signal:
        """Step through layers and images; `begin` marks the first cycle of each instruction.

        Returns
        -------
        Whether an instruction that is being summed is so for the last cycle.
        """
        prepared, summing = levels
        able = prepared & self.block_ready
        present, freed, reading_q = Signal(), Signal(), Signal()
        coming, summed = Signal(), Signal()
        reading = self.reading.any()
        flags = running.flags
        keeps = (flags & LayerFlag.KEEP_SUMS).any()
        m.d.sync += [
            reading_q.eq(reading),
            self.arm.eq(0),
            summed.eq(coming),
        ]
        m.d.comb += [
            self.input_free.eq(~present),
            coming.eq(self.cluster_done.all() & ~self.arm),
        ]
        with m.FSM():
            with m.State("IDLE"), m.If(present & able):
                m.d.comb += self.begin.eq(1)
                m.next = "COMPUTE"
            with m.State("COMPUTE"):
                m.d.comb += summing.eq(1)
                m.d.comb += self.request.eq(coming & ~keeps)
                with m.If(summed):
                    m.d.comb += self.block_done.eq((flags & LayerFlag.NEXT_BLOCK).any())
                    m.d.sync += self.arm.eq(1)
                    m.next = "DRAIN"
                    with m.If(keeps):
                        m.next = "FETCH"
            with m.State("DRAIN"):
                m.d.comb += self.request.eq(~self.drain_done)
                m.d.comb += [
                    self.draining.eq(~self.drain_written),
                    self.topn.eq(self.drain_written),
                ]
                with m.If(self.drain_done):
                    with m.If((flags & LayerFlag.RESULT).any()):
                        m.next = "RESULT"
                    with m.Elif(able):
                        m.d.comb += self.begin.eq(1)
                        m.next = "COMPUTE"
                    with m.Else():
                        m.next = "FETCH"
            with m.State("FETCH"), m.If(able):
                m.d.comb += self.begin.eq(1)
                m.next = "COMPUTE"
            with m.State("RESULT"):
                m.d.comb += self.result_valid.eq(1)
                with m.If(self.result_done):
                    # A program may leave the image to the end without ever freeing it.
                    m.d.sync += [present.eq(present & freed), freed.eq(0)]
                    m.next = "IDLE"
        with m.If(reading_q & ~reading & (flags & LayerFlag.FREE_IMAGE).any()):
            m.d.sync += [present.eq(0), freed.eq(1)]
        with m.If(self.arriving):
            m.d.sync += present.eq(1)
        return summed

    def _build_skip_jobs(self, m: Module, fetch: InstructionFetch, preparing: Signal) -> Signal:
        """Keep what the skippers need of the next instruction; return its threshold's slot."""
        config, fetched = self._config, fetch.o
        clusters, columns = config.clusters, config.act_columns
        held = struct_signal(skip_job_layout(config), reset_less=True)
        first, slot = Signal(reset_less=True), Signal(4, reset_less=True)
        convolution = fetched.opcode == Opcode.CONVOLUTION
        is_map = (fetched.flags & LayerFlag.MAP).any()
        copied = held.shape().members.keys() & fetched.shape().members.keys()
        map_words, map_tail, blank = self._build_map_slots(m, fetched)
        with m.If(preparing):
            m.d.sync += [
                *(held[name].eq(fetched[name]) for name in sorted(copied)),
                held.convolution.eq(convolution),
                held.base.eq(fetched.source_base),
                held.dense.eq((fetched.flags & LayerFlag.DENSE).any()),
                held.divided.eq((fetched.flags & LayerFlag.DIVIDED).any()),
                held.channel_lists.eq(Mux(convolution, fetched.channel_lists, 1)),
                held.run_lists.eq(Mux(convolution, fetched.run_lists, 1)),
                held.last_column.eq(Mux(convolution, fetched.output_width - 1, 0)),
                held.packing.eq(Mux(convolution, fetched.source_packing, 0)),
                held.blank.eq(blank),
                held.pooled.eq(fetched.pool_stride == 2),
                slot.eq(fetched.source_slot),
                first.eq(fetch.index == 0),
            ]
            with m.If((fetched.flags & LayerFlag.GATHER).any()):
                m.d.sync += [held.rows.eq(0), held.first_block.eq(0)]
        complete = Signal()
        with m.If(self.arriving):
            m.d.sync += complete.eq(0)
        with m.Elif(self.image_ready):
            m.d.sync += complete.eq(1)
        # The bank of the row below the map: it and those after it have one row less, if not bank 0.
        below = fetched.source_height[: exact_log2(clusters)]
        own = {"words", "tail", "pixel_words", "limited", "limit", "theta"}
        # A bank has a row of each round of the clusters, and maybe one of the rows left over.
        left_over = fetched.source_rows[: exact_log2(clusters)]
        rounds = fetched.source_rows >> exact_log2(clusters)
        whole_words = rounds >> exact_log2(columns)
        last_rows = rounds[: exact_log2(columns)]
        for cluster, job in enumerate(self.skip_jobs):
            words = Signal.like(job.words, name=f"words_{cluster}", reset_less=True)
            tail = Signal.like(job.tail, name=f"tail_{cluster}", reset_less=True)
            pixel_words = Signal.like(job.pixel_words, name=f"pixel_{cluster}", reset_less=True)
            more = Cat(left_over == number for number in range(cluster + 1, clusters)).any()
            share_words = Mux(more | last_rows.any(), whole_words + 1, whole_words)
            share_tail = (last_rows + more)[: exact_log2(columns)]
            row_less = Cat(below == bank for bank in range(1, cluster + 1)).any()
            with m.If(preparing):
                m.d.sync += [
                    words.eq(share_words),
                    tail.eq(share_tail << exact_log2(config.lanes)),
                    pixel_words.eq(share_words),
                ]
                with m.If(is_map):
                    m.d.sync += [
                        words.eq(fetched.source_words - Mux(row_less, fetched.source_row_words, 0)),
                        tail.eq(map_tail),
                        pixel_words.eq(map_words),
                    ]
            m.d.comb += [
                *(job[name].eq(held[name]) for name in job.shape().members if name not in own),
                job.words.eq(words),
                job.tail.eq(tail),
                job.pixel_words.eq(pixel_words),
                job.limit.eq(self.arrived[cluster]),
                job.limited.eq(first & ~complete),
            ]
        return slot

    def _build_map_slots(self, m: Module, fetched: data.View) -> tuple[Signal, Signal, Signal]:
        """Return what a map's words hold.

        After how many words one follows that is not full, how many of its slots are used, 0 for
        all, and which slots are used in no word. A packed map has such a word at the end of a row;
        a convolution's walk knows by itself how many pixels are left there.
        """
        config, packing = self._config, fetched.source_packing
        words = Signal.like(fetched.source_row_words, name="map_words")
        tail, blank = Signal(range(config.act_word), name="map_tail"), Signal(config.act_word)
        m.d.comb += [
            words.eq(fetched.source_pixel_words),
            tail.eq(fetched.source_tail << exact_log2(config.lanes)),
        ]
        with m.If(packing != 0):
            m.d.comb += tail.eq(0)
            with m.If(fetched.opcode != Opcode.CONVOLUTION):
                m.d.comb += [
                    words.eq(fetched.source_row_words),
                    tail.eq((fetched.source_width << exact_log2(config.act_word)) >> packing),
                ]
        with m.Switch(packing):
            for shared in range(1, exact_log2(config.act_word) + 1):
                pixel_slots = config.act_word >> shared
                used = [
                    (fetched.source_tail == 0) | (fetched.source_tail > slot % pixel_slots)
                    for slot in range(config.act_word)
                ]
                with m.Case(shared):
                    m.d.comb += blank.eq(~Cat(*used))
        return words, tail, blank

    def _build_thresholds(self, m: Module, slot: Signal, running: data.View) -> None:
        """Remember each output's threshold.

        The next instruction has begun when the threshold comes; it reaches the skippers in the
        cycle in which they prepare for their first word's arrival.
        """
        slots: memory.Memory = memory.Memory(shape=unsigned(7), depth=THRESHOLD_SLOTS, init=[])
        m.submodules.slots = slots
        write, read = slots.write_port(), slots.read_port(domain="comb")
        theta_q, target_slot = Signal(7, reset_less=True), Signal(4, reset_less=True)
        coming = Signal(Drain.THETA_CYCLES)
        m.d.sync += coming.eq(Cat(self.drain_done & self.job.last_tile, coming))
        with m.If(self.drain_done):
            m.d.sync += [target_slot.eq(running.target_slot), self.theta_layer.eq(self.layer)]
        m.d.comb += [
            self.theta_valid.eq(coming[-1]),
            self.theta.eq(self.drain_theta),
            write.en.eq(self.theta_valid),
            write.addr.eq(target_slot),
            write.data.eq(self.drain_theta),
            read.addr.eq(slot),
        ]
        known = Mux(self.theta_valid & (target_slot == slot), self.drain_theta, read.data)
        m.d.sync += theta_q.eq(Mux(slot == 0, 0, known))
        m.d.comb += [job.theta.eq(theta_q) for job in self.skip_jobs]
