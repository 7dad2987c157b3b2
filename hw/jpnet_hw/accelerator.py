"""The whole accelerator: registers, bus, contexts, clusters and drain."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from jpnet_hw.activation_memory import ActivationMemory
from jpnet_hw.axi_reader import AxiReader
from jpnet_hw.axi_writer import AxiWriter
from jpnet_hw.bus_ports import (
    LITE,
    READ,
    WRITE,
    connect_ports,
    constant_ports,
    part_ports,
    unused_ports,
)
from jpnet_hw.cluster import Cluster
from jpnet_hw.context import ImageContext
from jpnet_hw.counters import PerformanceCounters
from jpnet_hw.drain import Drain
from jpnet_hw.image_dma import ImageDma
from jpnet_hw.job_order import JobOrder
from jpnet_hw.monitor import Monitor, trace_members
from jpnet_hw.program_loader import ProgramLoader
from jpnet_hw.read_arbiter import ReadArbiter
from jpnet_hw.registers_block import RegistersBlock
from jpnet_hw.result_dma import ResultDma
from jpnet_hw.run_control import RunControl
from jpnet_hw.skipper import ZeroSkipper
from jpnet_hw.weight_stream import WeightStream
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.instruction import FORMAT_VERSION
from jpnet_spec.registers import ID_VALUE

__all__ = ["Accelerator"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """The submodules."""

    registers: RegistersBlock
    control: RunControl
    counters: PerformanceCounters
    monitor: Monitor
    reader: AxiReader
    reads: ReadArbiter
    writer: AxiWriter
    loader: ProgramLoader
    weights: WeightStream
    images: ImageDma
    results: ResultDma
    order: JobOrder
    drain: Drain
    memory: ActivationMemory
    contexts: list[ImageContext]
    skippers: list[ZeroSkipper]
    clusters: list[Cluster]

    @classmethod
    def of(cls, config: AcceleratorConfig) -> "_Parts":
        """Make all parts."""
        return cls(
            registers=RegistersBlock(config),
            control=RunControl(config),
            counters=PerformanceCounters(config),
            monitor=Monitor(config),
            reader=AxiReader(config),
            reads=ReadArbiter(config, users=3),
            writer=AxiWriter(config),
            loader=ProgramLoader(config),
            weights=WeightStream(config),
            images=ImageDma(config),
            results=ResultDma(config, read_latency=ActivationMemory.RESULT_LATENCY),
            order=JobOrder(config),
            drain=Drain(
                config,
                read_latency=Cluster.DRAIN_LATENCY,
                carried_latency=ActivationMemory.CARRIED_LATENCY,
            ),
            memory=ActivationMemory(config),
            contexts=[ImageContext(config) for _ in range(config.contexts)],
            skippers=[ZeroSkipper(config) for _ in range(config.clusters)],
            clusters=[Cluster(config) for _ in range(config.clusters)],
        )


class Accelerator(wiring.Component):
    """Load a program once, then run images through it, several in flight.

    Images lie as many whole beats apart from IMAGE_BASE on as one fills, results likewise from
    RESULT_BASE on. Image i is computed in context ``i % in_flight``, with as many images in flight
    as the program tells; contexts share the clusters' lanes and the drain. Any failure ends the
    load or run with an error code and an interrupt.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    irq : out
        The interrupt, while a pending one is enabled.
    s_axil_*
        AXI4-Lite slave: registers as in `jpnet_spec.registers`.
    m_axi_*
        AXI4 master: programs, images, results. Incrementing bursts of at most 16 whole beats.
    trace_row_* : out
        Drained rows, in the cycle of `trace_row_valid`: context, image number in the run,
        instruction, banks that are written, their word address and column, and their activations.
    trace_theta_* : out
        Every threshold, likewise.
    """

    irq: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._parts = parts = _Parts.of(config)
        super().__init__(
            {
                "irq": Out(1),
                **part_ports(LITE, parts.registers),
                **part_ports(READ, parts.reader),
                **part_ports(WRITE, parts.writer),
                **unused_ports(),
                **{name: Out(len(value)) for name, value in constant_ports(config).items()},
                **trace_members(config),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts = self._parts
        m.submodules.registers = parts.registers
        m.submodules.control = parts.control
        m.submodules.reader = parts.reader
        m.submodules.writer = parts.writer
        m.submodules.counters = parts.counters
        m.submodules.monitor = parts.monitor
        self._build_parts(m, parts)
        connect_ports(m, LITE, self, parts.registers)
        connect_ports(m, READ, self, parts.reader)
        connect_ports(m, WRITE, self, parts.writer)
        connect_ports(m, {name: name for name in trace_members(self._config)}, self, parts.monitor)
        for name, value in constant_ports(self._config).items():
            m.d.comb += getattr(self, name).eq(value)
        m.d.comb += self.irq.eq(parts.control.irq)
        self._build_values(m, parts)
        self._build_control(m, parts)
        self._build_failures(m, parts)
        self._build_transfers(m, parts)
        self._build_weights(m, parts)
        self._build_images(m, parts)
        self._build_compute(m, parts)
        self._build_counters(m, parts)
        self._build_monitor(m, parts)
        return m

    def _build_parts(self, m: Module, parts: _Parts) -> None:
        """Add what `stop` resets: one part after the other, so that no reset spans the chip."""
        stages: list[Mapping[str, wiring.Component]] = [
            {
                "loader": parts.loader,
                "weights": parts.weights,
                "reads": parts.reads,
                "images": parts.images,
                "results": parts.results,
            },
            {"memory": parts.memory, "drain": parts.drain, "order": parts.order},
            *({f"context_{number}": part} for number, part in enumerate(parts.contexts)),
            *({f"skipper_{number}": part} for number, part in enumerate(parts.skippers)),
            *({f"cluster_{number}": part} for number, part in enumerate(parts.clusters)),
        ]
        assert len(stages) < parts.control.settle_cycles
        stop = parts.control.stop
        for members in stages:
            # One name for all: equal parts are equal modules.
            stop_q = Signal(name="stop_q")
            m.d.sync += stop_q.eq(stop)
            stop = stop_q
            for name, part in members.items():
                m.submodules[name] = ResetInserter(stop)(part)

    def _build_values(self, m: Module, parts: _Parts) -> None:
        """Fill the registers that software reads."""
        values, control = parts.registers.values, parts.control
        m.d.comb += [
            values.id.eq(ID_VALUE),
            values.version.eq(FORMAT_VERSION),
            values.config_hash.eq(self._config.config_hash),
            values.status.eq(Cat(control.busy, control.loaded)),
            values.error.eq(control.error),
            values.irq_status.eq(control.irq_status),
            values.images_done.eq(control.images_done),
        ]
        for counter in Counter:
            name = f"counter_{counter.name.lower()}"
            count = parts.counters.counts[counter]
            m.d.comb += [
                getattr(values, f"{name}_low").eq(count[:32]),
                getattr(values, f"{name}_high").eq(count[32:]),
            ]

    def _build_control(self, m: Module, parts: _Parts) -> None:
        """Connect commands, and tell the watchdog what moves; the clear ends by itself."""
        control, held, written = parts.control, parts.registers.held, parts.registers.written
        products = Cat(part.issue_count | part.empty_count for part in parts.clusters).any()
        reads = Cat(skipper.read_count for skipper in parts.skippers).any()
        clearing = parts.drain.clear_busy & ~parts.loader.busy
        m.d.comb += [
            control.command.eq(written.control),
            control.clear_error.eq(parts.registers.touched.error),
            control.clear_irq.eq(written.irq_status),
            control.irq_enable.eq(held.irq_enable),
            control.program_base.eq(held.program_base_low),
            control.image_base.eq(held.image_base_low),
            control.result_base.eq(held.result_base_low),
            control.image_count.eq(held.image_count),
            control.watchdog.eq(held.watchdog),
            control.unmapped.eq(parts.registers.unmapped),
            control.loading_done.eq(~parts.loader.busy & ~parts.drain.clear_busy),
            control.streaming.eq(parts.weights.busy),
            # A refused result is not in memory; its error comes in the same cycle.
            control.written.eq(parts.results.written & ~control.failed),
            control.bus_idle.eq(parts.reader.idle & parts.writer.idle),
        ]
        m.d.sync += control.progress.eq(
            parts.reader.progress
            | parts.writer.progress
            | parts.drain.row_valid
            | clearing
            | reads
            | products
        )

    def _build_failures(self, m: Module, parts: _Parts) -> None:
        """Collect everything that ends a load or run; the first of the list wins."""
        failures: list[tuple[Signal, Any]] = [
            (parts.reader.error, ErrorCode.AXI_READ),
            (parts.writer.error, ErrorCode.AXI_WRITE),
            (parts.loader.error_valid, parts.loader.error),
            *((context.error_valid, context.error) for context in parts.contexts),
        ]
        failure = Signal(ErrorCode)
        for valid, code in reversed(failures):
            with m.If(valid):
                m.d.comb += failure.eq(code)
        m.d.sync += [
            parts.control.failed.eq(reduce(or_, (valid for valid, _ in failures))),
            parts.control.failure.eq(failure),
        ]

    def _build_transfers(self, m: Module, parts: _Parts) -> None:
        """Connect images, loader, streamed lists and results with the bus."""
        control, loader, images = parts.control, parts.loader, parts.images
        reads, reader, results = parts.reads, parts.reader, parts.results
        held = parts.registers.held
        bases = {
            name: Cat(
                getattr(held, f"{name}_base_low"),
                getattr(held, f"{name}_base_high", Const(0, 1)),
            )
            for name in ("program", "image", "result")
        }
        m.d.comb += [
            loader.start.eq(control.start_load),
            loader.base.eq(bases["program"]),
            images.start.eq(control.start_run),
            images.base.eq(bases["image"]),
            images.count.eq(held.image_count),
            images.rows.eq(loader.header.input_rows),
            images.in_flight.eq(loader.header.in_flight),
            results.start.eq(control.start_run),
            results.base.eq(bases["result"]),
            results.rows.eq(loader.header.result_rows),
            results.in_flight.eq(loader.header.in_flight),
            results.writer_idle.eq(parts.writer.idle),
            reader.abort.eq(control.stop),
            parts.writer.abort.eq(control.stop),
            # The loader reads the program's words, and then those of the blocks.
            loader.i.payload.eq(reader.o.payload),
            loader.i.valid.eq(reads.gives[1].valid | reads.gives[2].valid),
            reads.gives[1].ready.eq(loader.i.ready),
            reads.gives[2].ready.eq(loader.i.ready),
        ]
        transfers = (images.transfers, loader.transfers, parts.weights.transfers)
        for ask, transfer in zip(reads.asks, transfers, strict=True):
            wiring.connect(m, transfer, ask)
        wiring.connect(m, reads.gives[0], images.i)
        wiring.connect(m, reads.transfers, reader.transfers)
        wiring.connect(m, reader.o, reads.i)
        wiring.connect(m, results.transfers, parts.writer.transfers)
        wiring.connect(m, results.o, parts.writer.i)

    def _build_weights(self, m: Module, parts: _Parts) -> None:
        """Connect the stream of lists with the loader, which unpacks it, and the contexts."""
        weights, loader, control = parts.weights, parts.loader, parts.control
        m.d.comb += [
            weights.clear.eq(control.start_load),
            weights.base.eq(loader.base),
            weights.opened.eq(loader.opened),
            weights.program_words.eq(loader.header.total_words),
            weights.blocks.eq(loader.header.blocks),
            weights.in_flight.eq(loader.header.in_flight),
            weights.block_words.eq(loader.block_words),
            weights.block_done.eq(loader.block_done),
            weights.start.eq(control.start_run),
            weights.count.eq(parts.registers.held.image_count),
            loader.slot.eq(weights.slot),
        ]
        for number, context in enumerate(parts.contexts):
            m.d.comb += [
                context.blocks.eq(loader.header.blocks),
                context.block_ready.eq(weights.ready[number]),
                weights.finished[number].eq(context.block_done),
            ]

    def _build_images(self, m: Module, parts: _Parts) -> None:
        """Connect the contexts with programs, images and results."""
        control, loader, images, results = (
            parts.control,
            parts.loader,
            parts.images,
            parts.results,
        )
        memory = parts.memory
        wiring.connect(m, images.beats, memory.beats)
        m.d.comb += [
            memory.input_base.eq(loader.header.input_base),
            memory.result_base.eq(loader.header.result_base),
            memory.row_valid.eq(parts.drain.row_valid),
            memory.row.eq(parts.drain.row),
            memory.result_read.eq(results.result_read),
            memory.result_context.eq(results.result_context),
            memory.result_row.eq(results.result_row),
            results.result_granted.eq(memory.result_granted),
            memory.carried_read.eq(parts.drain.carried_read),
            memory.carried.eq(parts.drain.carried),
            *(
                here.eq(there)
                for here, there in zip(parts.drain.carried_rows, memory.carried_rows, strict=True)
            ),
            results.result_data.eq(memory.result_data),
            images.image_ready.eq(memory.image_ready),
        ]
        for number, context in enumerate(parts.contexts):
            m.d.comb += [
                context.start.eq(control.start_run),
                context.instructions.eq(loader.header.instructions),
                context.act_limit.eq(loader.act_limit),
                context.acc_limit.eq(loader.acc_limit),
                context.load_valid.eq(loader.load_valid),
                context.load.eq(loader.load),
                context.image_ready.eq(memory.image_ready[number]),
                context.arriving.eq(memory.arriving[number]),
                *(
                    here.eq(there)
                    for here, there in zip(context.arrived, memory.arrived[number], strict=True)
                ),
                context.result_done.eq(results.result_done[number]),
                images.input_free[number].eq(context.input_free),
                results.result_valid[number].eq(context.result_valid),
            ]

    def _build_compute(self, m: Module, parts: _Parts) -> None:
        """Connect contexts, clusters and the drain."""
        drain, loader = parts.drain, parts.loader
        fewer = loader.header.in_flight != self._config.contexts
        # Each run begins with the same turns, so that its cycles do not depend on those before.
        restart = Signal()
        m.d.comb += [parts.order.restart.eq(restart), parts.memory.restart.eq(restart)]
        m.d.sync += [
            restart.eq(parts.control.start_run),
            parts.order.in_turn.eq((loader.header.blocks != 0) | fewer),
        ]
        # Each skipper hears of the first context a cycle after its neighbour, from close by.
        heard = [parts.order.first]
        for place in range(self._config.clusters):
            heard.append(Signal.like(heard[0], name=f"oldest_{place}", init=1))
            m.d.sync += heard[place + 1].eq(heard[place])
        m.d.comb += [
            drain.clear.eq(parts.control.start_load),
            drain.load_valid.eq(loader.load_valid),
            drain.load.eq(loader.load),
            parts.order.oldest.eq(parts.results.oldest),
            parts.order.computing.eq(Cat(context.computing for context in parts.contexts)),
            drain.oldest.eq(heard[0]),
        ]
        for number, context in enumerate(parts.contexts):
            m.d.comb += [
                drain.request[number].eq(context.request),
                drain.jobs[number].eq(context.job),
                context.drain_done.eq(drain.done[number]),
                context.drain_theta.eq(drain.theta[number]),
                context.drain_written.eq(drain.written[number]),
            ]
            for place, (skipper, cluster) in enumerate(
                zip(parts.skippers, parts.clusters, strict=True)
            ):
                m.d.comb += [
                    skipper.begin[number].eq(context.begin),
                    skipper.jobs[number].eq(context.skip_jobs[place]),
                    context.reading[place].eq(skipper.reading[number]),
                    context.waiting[place].eq(skipper.waiting[number]),
                    cluster.arm[number].eq(context.arm),
                    context.cluster_done[place].eq(cluster.done[number]),
                ]
        for place, (skipper, cluster) in enumerate(
            zip(parts.skippers, parts.clusters, strict=True)
        ):
            # A register, which synthesis finds constant: a constant would make each of them another
            # module.
            own_number = Signal.like(skipper.cluster, name=f"number_{place}", init=place)
            m.d.sync += own_number.eq(place)
            wiring.connect(m, skipper.o, cluster.i)
            m.d.comb += [
                skipper.cluster.eq(own_number),
                cluster.number.eq(own_number),
                skipper.oldest.eq(heard[place]),
                parts.memory.asks[place].eq(skipper.ask),
                skipper.granted.eq(parts.memory.granted[place]),
                skipper.word.eq(parts.memory.words[place]),
                cluster.restart.eq(restart),
                cluster.load_valid.eq(loader.load_valid),
                cluster.load.eq(loader.load),
                cluster.drain_valid.eq(drain.acc_read_valid),
                cluster.drain.eq(drain.acc_read[place]),
            ]
            for group in range(self._config.groups):
                m.d.comb += drain.sums[place][group].eq(cluster.sums[group])

    def _build_counters(self, m: Module, parts: _Parts) -> None:
        """Connect what is counted."""
        counters, control, contexts = parts.counters, parts.control, parts.contexts
        m.d.comb += [
            counters.clear.eq(control.start_run),
            counters.running.eq(control.running & ~control.start_run),
            counters.skipping.eq(Cat(skipper.busy.any() for skipper in parts.skippers)),
            counters.computing.eq(reduce(or_, (context.computing for context in contexts))),
            counters.draining.eq(reduce(or_, (context.draining for context in contexts))),
            counters.topn.eq(reduce(or_, (context.topn for context in contexts))),
        ]
        for place, skipper in enumerate(parts.skippers):
            m.d.comb += [
                counters.read_count[place].eq(skipper.read_count),
                counters.zero_count[place].eq(skipper.zero_count),
                counters.below_count[place].eq(skipper.below_count),
            ]
        for place, cluster in enumerate(parts.clusters):
            m.d.comb += [
                counters.issue_count[place].eq(cluster.issue_count),
                counters.empty_count[place].eq(cluster.empty_count),
                counters.blocked[place].eq(cluster.blocked),
            ]

    def _build_monitor(self, m: Module, parts: _Parts) -> None:
        """Connect what is traced."""
        monitor, drain = parts.monitor, parts.drain
        m.d.comb += [
            monitor.row_valid.eq(drain.row_valid),
            monitor.row.eq(drain.row),
        ]
        for number, context in enumerate(parts.contexts):
            m.d.comb += [
                monitor.image[number].eq(parts.results.image[number]),
                monitor.layer[number].eq(context.layer),
                monitor.theta_valid[number].eq(context.theta_valid),
                monitor.theta[number].eq(context.theta),
                monitor.theta_layer[number].eq(context.theta_layer),
            ]
