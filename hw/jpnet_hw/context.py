"""One image in flight: activation memory, zero skippers and the sequence of its layers."""

from functools import reduce
from operator import add

from amaranth.hdl import Cat, Elaboratable, Module, Mux, ResetInserter, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.activation_bank import ActivationBank, beat_rows
from jpnet_hw.drain import drain_job_layout
from jpnet_hw.instruction_fetch import InstructionFetch, instruction_layout
from jpnet_hw.layouts import load_layout, row_write_layout, struct_signal, token_layout
from jpnet_hw.skipper import ZeroSkipper
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.instruction import THRESHOLD_SLOTS, LayerFlag

__all__ = ["ImageContext", "image_beat_layout"]


def image_beat_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return one bus beat of an image and its number in it; the context knows where it goes."""
    beats = config.act_depth * config.clusters * config.act_word // config.beat_bytes
    return data.StructLayout(
        {
            "beat": unsigned((beats - 1).bit_length()),
            "data": unsigned(config.axi_data_width),
        }
    )


class ImageContext(wiring.Component):
    """Takes one image after another through all instructions of the program.

    Holds the image's activation memory (one bank a cluster) and the zero skippers, an instruction
    memory of its own and the remembered thresholds. For each instruction: the skippers stream the
    survivors, the clusters report that every product is summed, the drain writes the output and
    finds its threshold, and the next instruction starts in the very cycle of the drain's `done`.
    After the instruction with the flag RESULT the result is read out, then the next image begins.

    Transitions: `cluster_done` to `request` 0 cycles, `drain_done` to the skippers' start 0
    cycles, `image_ready` or `result_done` to the first instruction's start 1 cycle. The first
    survivor leaves `FIRST_TOKEN_CYCLES` after the start.

    Parameters
    ----------
    config
        The accelerator.
    number
        This context's number in row writes.

    Members
    -------
    flush : in
        While high: everything but memories is reset. Afterwards nothing happens until `start`.
    start : in
        Pulse at the beginning of a run, only while no image is in flight: fetch instruction 0.
    instructions : in
        Instructions of the program, at least 1 (the loader checks that); held stable.
    input_base, result_base : in
        First word address of the image and of the result; held stable.
    load_valid, load : in, `load_layout`
        Instruction words.
    beats : in stream of `image_beat_layout`
        Image data, in order. Beat b holds rows ``b * beat_rows`` onwards; where they lie is told
        by `jpnet_spec.config.AcceleratorConfig.row_places`.
    input_free : out
        Level: the image's place may be overwritten. Falls after the image's first beat.
    image_ready : in
        Pulse, after the image's last beat was taken: the image is complete. The first instruction
        starts with the first beat and follows the words as they come.
    result_valid : out
        Level: the result lies in memory and may be read.
    result_row : in
        Number of the row in the result; every cycle while `result_valid` is a read.
    result_data : out, unsigned(8 * lanes)
        The row, `RESULT_LATENCY` cycles later.
    result_done : in
        Pulse, while `result_valid`: the last row was received.
    tokens : out streams of `token_layout`, one a cluster
    cluster_done : in, one bit a cluster
        This context's level `done` of each cluster: every product is summed.
    arm : out
        One-cycle pulse to the clusters at the beginning of a drain: fall back, `done`.
    request, job : out
        To the drain, this context's.
    drain_done, drain_theta, drain_written : in
        From the drain, this context's.
    row_valid, row : in, `row_write_layout`
        All drained rows; those of this context are written.
    error_valid, error : out
        One-cycle pulse: a wrong instruction was fetched. The context then makes no progress until
        `flush` or `start`.
    computing, draining, topn : out
        Levels, at most one of them: summing, draining rows, only waiting for the threshold. None
        while the sums wait for the image to come.
    skipping : out, one bit a cluster
        This context's skipper of that cluster is busy.
    read_count, zero_count, below_count : out
        Activations read, dropped as zero and by the threshold, in one cycle, over all clusters.
    layer : out, unsigned(10)
        Number of the instruction that computes or drains.
    theta_valid, theta : out
        Trace: one-cycle pulse with each instruction's threshold; `layer` names the instruction.
    """

    RESULT_LATENCY = ActivationBank.LATENCY + 2
    FIRST_TOKEN_CYCLES = ZeroSkipper.LATENCY

    flush: Signal
    start: Signal
    instructions: Signal
    input_base: Signal
    result_base: Signal
    load_valid: Signal
    load: data.View
    beats: stream.Interface
    input_free: Signal
    image_ready: Signal
    result_valid: Signal
    result_row: Signal
    result_data: Signal
    result_done: Signal
    tokens: list[stream.Interface]
    cluster_done: Signal
    arm: Signal
    request: Signal
    job: data.View
    drain_done: Signal
    drain_theta: Signal
    drain_written: Signal
    row_valid: Signal
    row: data.View
    error_valid: Signal
    error: Signal
    computing: Signal
    draining: Signal
    topn: Signal
    skipping: Signal
    read_count: Signal
    zero_count: Signal
    below_count: Signal
    layer: Signal
    theta_valid: Signal
    theta: Signal

    def __init__(self, config: AcceleratorConfig, *, number: int) -> None:
        self._config = config
        self._number = number
        count = range(config.clusters * config.act_word + 1)
        super().__init__(
            {
                "flush": In(1),
                "start": In(1),
                "instructions": In(range(config.program_depth + 1)),
                "input_base": In(config.act_addr_width),
                "result_base": In(config.act_addr_width),
                "load_valid": In(1),
                "load": In(load_layout(config)),
                "beats": In(stream.Signature(image_beat_layout(config))),
                "input_free": Out(1),
                "image_ready": In(1),
                "result_valid": Out(1),
                "result_row": In(range(config.act_depth * config.clusters * config.act_columns)),
                "result_data": Out(8 * config.lanes),
                "result_done": In(1),
                "tokens": Out(stream.Signature(token_layout(config))).array(config.clusters),
                "cluster_done": In(config.clusters),
                "arm": Out(1),
                "request": Out(1),
                "job": Out(drain_job_layout(config)),
                "drain_done": In(1),
                "drain_theta": In(7),
                "drain_written": In(1),
                "row_valid": In(1),
                "row": In(row_write_layout(config)),
                "error_valid": Out(1),
                "error": Out(ErrorCode),
                "computing": Out(1),
                "draining": Out(1),
                "topn": Out(1),
                "skipping": Out(config.clusters),
                "read_count": Out(count),
                "zero_count": Out(count),
                "below_count": Out(count),
                "layer": Out(10),
                "theta_valid": Out(1),
                "theta": Out(7),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        config = self._config
        m.submodules.fetch = fetch = InstructionFetch(config)
        banks = [ActivationBank(config) for _ in range(config.clusters)]
        skippers = [ZeroSkipper(config) for _ in range(config.clusters)]
        running = struct_signal(instruction_layout(), reset_less=True)
        begin, prepared, accept, summing = Signal(), Signal(), Signal(), Signal()
        for cluster, (bank, skipper) in enumerate(zip(banks, skippers, strict=True)):
            m.submodules[f"bank_{cluster}"] = bank
            m.submodules[f"skipper_{cluster}"] = skipper
            m.d.comb += [skipper.start.eq(begin), skipper.r_word.eq(bank.r_word)]
            wiring.connect(m, skipper.o, wiring.flipped(self.tokens[cluster]))
        m.d.comb += [
            fetch.load_valid.eq(self.load_valid),
            fetch.load.eq(self.load),
            fetch.instructions.eq(self.instructions),
            fetch.start.eq(self.start),
            fetch.take.eq(begin),
            self.error_valid.eq(fetch.error_valid),
            self.error.eq(fetch.error),
        ]
        with m.If(begin):
            m.d.sync += [running.eq(fetch.o), self.layer.eq(fetch.index), prepared.eq(0)]
        with m.Elif(accept):
            m.d.sync += prepared.eq(1)
        with m.If(self.start):
            m.d.sync += prepared.eq(0)
        m.d.comb += [
            accept.eq(fetch.valid & ~prepared & ~summing),
            *(self.job[name].eq(running[name]) for name in self.job.shape().members),
        ]
        self._build_sequence(m, skippers, running, (begin, prepared, summing))
        waiting = Cat(skipper.waiting for skipper in skippers).any()
        m.d.comb += self.computing.eq(summing & ~waiting)
        slot = self._build_skip_job(m, skippers, fetch.o, accept)
        self._build_thresholds(m, skippers, slot, running)
        self._build_writes(m, banks, skippers)
        self._build_reads(m, banks, skippers)
        m.d.comb += self.skipping.eq(Cat(skipper.busy for skipper in skippers))
        for name in ("read_count", "zero_count", "below_count"):
            counts = [getattr(skipper, name) for skipper in skippers]
            m.d.sync += getattr(self, name).eq(reduce(add, counts))
        flushed: Elaboratable = ResetInserter(self.flush)(m)
        return flushed

    def _build_sequence(
        self,
        m: Module,
        skippers: list[ZeroSkipper],
        running: data.View,
        levels: tuple[Signal, Signal, Signal],
    ) -> None:
        """Step through layers and images; `begin` marks the first cycle of each instruction."""
        begin, prepared, summing = levels
        present, freed, reading_q = Signal(), Signal(), Signal()
        reading = Cat(skipper.reading for skipper in skippers).any()
        flags = running.flags
        m.d.sync += [reading_q.eq(reading), self.arm.eq(0)]
        m.d.comb += self.input_free.eq(~present)
        with m.FSM():
            with m.State("IDLE"), m.If(present & prepared):
                m.d.comb += begin.eq(1)
                m.next = "COMPUTE"
            with m.State("COMPUTE"):
                m.d.comb += summing.eq(1)
                with m.If(self.cluster_done.all()):
                    m.d.comb += self.request.eq(1)
                    m.d.sync += self.arm.eq(1)
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += [
                    self.request.eq(1),
                    self.draining.eq(~self.drain_written),
                    self.topn.eq(self.drain_written),
                    self.theta_valid.eq(self.drain_done),
                ]
                with m.If(self.drain_done):
                    with m.If((flags & LayerFlag.RESULT).any()):
                        m.next = "RESULT"
                    with m.Elif(prepared):
                        m.d.comb += begin.eq(1)
                        m.next = "COMPUTE"
                    with m.Else():
                        m.next = "FETCH"
            with m.State("FETCH"), m.If(prepared):
                m.d.comb += begin.eq(1)
                m.next = "COMPUTE"
            with m.State("RESULT"):
                m.d.comb += self.result_valid.eq(1)
                with m.If(self.result_done):
                    # A program may leave the image to the end without ever freeing it.
                    m.d.sync += [present.eq(present & freed), freed.eq(0)]
                    m.next = "IDLE"
        with m.If(reading_q & ~reading & (flags & LayerFlag.FREE_IMAGE).any()):
            m.d.sync += [present.eq(0), freed.eq(1)]
        with m.If(self.beats.valid & self.beats.ready & (self.beats.payload.beat == 0)):
            m.d.sync += present.eq(1)

    def _build_skip_job(
        self, m: Module, skippers: list[ZeroSkipper], fetched: data.View, accept: Signal
    ) -> Signal:
        """Keep what the skippers need of the next instruction; return its threshold's slot."""
        clusters, columns = self._config.clusters, self._config.act_columns
        base, pointer_base = Signal(16, reset_less=True), Signal(16, reset_less=True)
        flags, slot = Signal(8, reset_less=True), Signal(4, reset_less=True)
        with m.If(accept):
            m.d.sync += [
                base.eq(fetched.source_base),
                pointer_base.eq(fetched.pointer_base),
                flags.eq(fetched.flags),
                slot.eq(fetched.source_slot),
            ]
        for cluster, skipper in enumerate(skippers):
            words = Signal.like(skipper.words, name=f"words_{cluster}", reset_less=True)
            tail = Signal.like(skipper.tail, name=f"tail_{cluster}", reset_less=True)
            share = (fetched.source_rows + (clusters - 1 - cluster)) >> exact_log2(clusters)
            with m.If(accept):
                m.d.sync += [
                    words.eq((share + (columns - 1)) >> exact_log2(columns)),
                    tail.eq(share & (columns - 1)),
                ]
            m.d.comb += [
                skipper.base.eq(base),
                skipper.words.eq(words),
                skipper.tail.eq(tail),
                skipper.pointer_base.eq(pointer_base),
                skipper.dense.eq((flags & LayerFlag.DENSE).any()),
                skipper.divided.eq((flags & LayerFlag.DIVIDED).any()),
            ]
        return slot

    def _build_thresholds(
        self, m: Module, skippers: list[ZeroSkipper], slot: Signal, running: data.View
    ) -> None:
        """Remember each output's threshold; it reaches the skippers before their first word."""
        slots: memory.Memory = memory.Memory(shape=unsigned(7), depth=THRESHOLD_SLOTS, init=[])
        m.submodules.slots = slots
        write, read = slots.write_port(), slots.read_port(domain="comb")
        theta_q = Signal(7, reset_less=True)
        m.d.comb += [
            self.theta.eq(self.drain_theta),
            write.en.eq(self.theta_valid),
            write.addr.eq(running.target_slot),
            write.data.eq(self.drain_theta),
            read.addr.eq(slot),
        ]
        m.d.sync += theta_q.eq(Mux(slot == 0, 0, read.data))
        m.d.comb += [skipper.theta.eq(theta_q) for skipper in skippers]

    def _build_writes(
        self, m: Module, banks: list[ActivationBank], skippers: list[ZeroSkipper]
    ) -> None:
        """Give drained rows and image beats to the banks they belong to."""
        config = self._config
        row_q = struct_signal(row_write_layout(config), reset_less=True)
        row_valid_q = Signal()
        beat_q = struct_signal(image_beat_layout(config), reset_less=True)
        beat_valid, beat_address = Signal(), Signal(config.act_addr_width, reset_less=True)
        # A beat fills a part of the clusters' banks, or all of them, with `per_bank` rows each.
        per_bank, row_bits = beat_rows(config), 8 * config.lanes
        parts = config.clusters * per_bank // config.beat_rows
        part_bits, share_bits = exact_log2(parts), exact_log2(config.act_columns // per_bank)
        place = self.beats.payload.beat >> part_bits
        taken = ~Cat(bank.beats.valid & ~bank.beats.ready for bank in banks).any()
        m.d.sync += [
            row_q.eq(self.row),
            row_valid_q.eq(self.row_valid & (self.row.context == self._number)),
        ]
        m.d.comb += self.beats.ready.eq(~beat_valid | taken)
        with m.If(self.beats.ready):
            m.d.sync += [
                beat_valid.eq(self.beats.valid),
                beat_q.eq(self.beats.payload),
                beat_address.eq(self.input_base + (place >> share_bits)),
            ]
        for cluster, bank in enumerate(banks):
            part = cluster * parts // config.clusters
            share = bank.beats.payload
            m.d.comb += [
                bank.row_valid.eq(row_valid_q & (row_q.cluster == cluster)),
                bank.row_address.eq(row_q.address),
                bank.row_column.eq(row_q.column),
                bank.row_data.eq(row_q.acts),
                bank.beats.valid.eq(beat_valid & (beat_q.beat[:part_bits] == part)),
                share.address.eq(beat_address),
                share.share.eq((beat_q.beat >> part_bits)[:share_bits]),
                *(
                    share.rows.word_select(index, row_bits).eq(
                        beat_q.data.word_select(
                            cluster % (config.clusters // parts) + index * config.clusters, row_bits
                        )
                    )
                    for index in range(per_bank)
                ),
            ]
            last_share = share.share == config.act_columns // per_bank - 1
            self._build_arrival(m, bank.beats.valid & taken & last_share, skippers[cluster])

    def _build_arrival(self, m: Module, word_filled: Value, skipper: ZeroSkipper) -> None:
        """Let the first instruction read only words of the image that have come."""
        arrived = Signal.like(skipper.limit, reset_less=True)
        complete = Signal()
        first_beat = self.beats.valid & self.beats.ready & (self.beats.payload.beat == 0)
        with m.If(first_beat):
            m.d.sync += [arrived.eq(0), complete.eq(0)]
        with m.Elif(word_filled):
            m.d.sync += arrived.eq(arrived + 1)
        with m.If(self.image_ready):
            m.d.sync += complete.eq(1)
        m.d.comb += [
            skipper.limit.eq(arrived),
            skipper.limited.eq((self.layer == 0) & ~complete),
        ]

    def _build_reads(
        self, m: Module, banks: list[ActivationBank], skippers: list[ZeroSkipper]
    ) -> None:
        """Let the result reader use the skippers' port while they rest."""
        config = self._config
        cluster_bits, column_bits = exact_log2(config.clusters), exact_log2(config.act_columns)
        local = self.result_row >> cluster_bits
        address = Signal(config.act_addr_width, reset_less=True)
        place: Value = Cat(local[:column_bits], self.result_row[:cluster_bits])
        m.d.sync += address.eq(self.result_base + (local >> column_bits))
        for stage in range(1 + ActivationBank.LATENCY):
            place_q = Signal(
                range(max(2, config.clusters * config.act_columns)),
                name=f"result_place_{stage}",
                reset_less=True,
            )
            m.d.sync += place_q.eq(place)
            place = place_q
        words = Cat(bank.r_word for bank in banks)
        m.d.sync += self.result_data.eq(words.word_select(place, 8 * config.lanes))
        for bank, skipper in zip(banks, skippers, strict=True):
            m.d.comb += bank.r_address.eq(Mux(self.result_valid, address, skipper.r_address))
