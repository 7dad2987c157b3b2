"""The whole accelerator: registers, bus, contexts, clusters and drain."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.axi_reader import AxiReader
from jpnet_hw.axi_writer import AxiWriter
from jpnet_hw.cluster import Cluster
from jpnet_hw.context import ImageContext
from jpnet_hw.counters import PerformanceCounters
from jpnet_hw.drain import Drain
from jpnet_hw.image_dma import ImageDma
from jpnet_hw.monitor import Monitor, trace_members
from jpnet_hw.program_loader import ProgramLoader
from jpnet_hw.registers_block import RegistersBlock
from jpnet_hw.result_dma import ResultDma
from jpnet_hw.run_control import RunControl
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.instruction import FORMAT_VERSION
from jpnet_spec.registers import ID_VALUE

__all__ = ["Accelerator"]

_INCREMENTING = 1
_BUFFERABLE_MODIFIABLE = 3


def _lite_ports() -> dict[str, wiring.Member]:
    return {
        "s_axil_awaddr": In(12),
        "s_axil_awprot": In(3),
        "s_axil_awvalid": In(1),
        "s_axil_awready": Out(1),
        "s_axil_wdata": In(32),
        "s_axil_wstrb": In(4),
        "s_axil_wvalid": In(1),
        "s_axil_wready": Out(1),
        "s_axil_bresp": Out(2),
        "s_axil_bvalid": Out(1),
        "s_axil_bready": In(1),
        "s_axil_araddr": In(12),
        "s_axil_arprot": In(3),
        "s_axil_arvalid": In(1),
        "s_axil_arready": Out(1),
        "s_axil_rdata": Out(32),
        "s_axil_rresp": Out(2),
        "s_axil_rvalid": Out(1),
        "s_axil_rready": In(1),
    }


def _address_ports(channel: str, config: AcceleratorConfig) -> dict[str, wiring.Member]:
    widths = {
        "id": 1,
        "addr": config.axi_addr_width,
        "len": 8,
        "size": 3,
        "burst": 2,
        "lock": 1,
        "cache": 4,
        "prot": 3,
        "valid": 1,
    }
    ports = {f"m_axi_{channel}{name}": Out(width) for name, width in widths.items()}
    return ports | {f"m_axi_{channel}ready": In(1)}


def _master_ports(config: AcceleratorConfig) -> dict[str, wiring.Member]:
    return {
        **_address_ports("aw", config),
        "m_axi_wdata": Out(config.axi_data_width),
        "m_axi_wstrb": Out(config.beat_bytes),
        "m_axi_wlast": Out(1),
        "m_axi_wvalid": Out(1),
        "m_axi_wready": In(1),
        "m_axi_bid": In(1),
        "m_axi_bresp": In(2),
        "m_axi_bvalid": In(1),
        "m_axi_bready": Out(1),
        **_address_ports("ar", config),
        "m_axi_rid": In(1),
        "m_axi_rdata": In(config.axi_data_width),
        "m_axi_rresp": In(2),
        "m_axi_rlast": In(1),
        "m_axi_rvalid": In(1),
        "m_axi_rready": Out(1),
    }


class Accelerator(wiring.Component):
    """Load a program once, then run images through it, several in flight.

    Images lie ``words * act_word`` bytes apart from IMAGE_BASE on, results likewise from
    RESULT_BASE on. Image i is computed in context ``i % contexts``; contexts share the clusters'
    lanes and the drain. Any failure ends the load or run with an error code and an interrupt.

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
        Every drained row, in the cycle of `trace_row_valid`: context, image number in the run,
        instruction, row number and activations.
    trace_theta_* : out
        Every threshold, likewise.
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "irq": Out(1),
                **_lite_ports(),
                **_master_ports(config),
                **trace_members(config),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        contexts = range(config.contexts)
        m.submodules.registers = registers = RegistersBlock(config)
        m.submodules.control = control = RunControl(config)
        m.submodules.reader = reader = AxiReader(config)
        m.submodules.writer = writer = AxiWriter(config)
        m.submodules.counters = counters = PerformanceCounters(config)
        m.submodules.monitor = monitor = Monitor(config)
        m.submodules.drain = drain = Drain(config, read_latency=Cluster.DRAIN_LATENCY)
        loader = ProgramLoader(config)
        images = ImageDma(config)
        results = ResultDma(config, read_latency=ImageContext.RESULT_LATENCY)
        flows = [ImageContext(config, number=number) for number in contexts]
        clusters = [Cluster(config, cluster=number) for number in range(config.clusters)]
        stopped = ResetInserter(control.stop)
        m.submodules.loader = stopped(loader)
        m.submodules.images = stopped(images)
        m.submodules.results = stopped(results)
        for number, flow in enumerate(flows):
            m.submodules[f"context_{number}"] = flow
        for number, cluster in enumerate(clusters):
            m.submodules[f"cluster_{number}"] = stopped(cluster)
        self._build_registers(m, registers, control, counters)
        self._build_bus(m, reader, writer)
        self._build_control(m, registers, control, reader, writer, loader, results, drain, flows)
        self._build_transfers(m, registers, control, reader, writer, loader, images, results)
        self._build_images(m, control, loader, images, results, flows)
        self._build_compute(m, control, loader, drain, flows, clusters)
        self._build_counters(m, control, counters, flows, clusters)
        self._build_progress(m, control, reader, writer, loader, drain, flows, clusters)
        self._build_monitor(m, monitor, drain, results, flows)
        return m

    def _build_registers(
        self,
        m: Module,
        registers: RegistersBlock,
        control: RunControl,
        counters: PerformanceCounters,
    ) -> None:
        """Connect the host, and the registers with what they show and command."""
        values = registers.values
        for channel, names in {
            "aw": {"address": "addr", "valid": "valid"},
            "w": {"data": "data", "strobe": "strb", "valid": "valid"},
            "b": {"ready": "ready"},
            "ar": {"address": "addr", "valid": "valid"},
            "r": {"ready": "ready"},
        }.items():
            for ours, port in names.items():
                source = getattr(self, f"s_axil_{channel}{port}")
                m.d.comb += getattr(registers, f"{channel}_{ours}").eq(source)
        m.d.comb += [
            self.s_axil_awready.eq(registers.aw_ready),
            self.s_axil_wready.eq(registers.w_ready),
            self.s_axil_bresp.eq(registers.b_resp),
            self.s_axil_bvalid.eq(registers.b_valid),
            self.s_axil_arready.eq(registers.ar_ready),
            self.s_axil_rdata.eq(registers.r_data),
            self.s_axil_rresp.eq(registers.r_resp),
            self.s_axil_rvalid.eq(registers.r_valid),
            self.irq.eq(control.irq),
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
            m.d.comb += [
                getattr(values, f"{name}_low").eq(counters.counts[counter][:32]),
                getattr(values, f"{name}_high").eq(counters.counts[counter][32:]),
            ]

    def _build_bus(self, m: Module, reader: AxiReader, writer: AxiWriter) -> None:
        """Connect the memory."""
        size = exact_log2(self._config.beat_bytes)
        for channel in ("aw", "ar"):
            m.d.comb += [
                getattr(self, f"m_axi_{channel}size").eq(size),
                getattr(self, f"m_axi_{channel}burst").eq(_INCREMENTING),
                getattr(self, f"m_axi_{channel}cache").eq(_BUFFERABLE_MODIFIABLE),
            ]
        m.d.comb += [
            self.m_axi_araddr.eq(reader.ar_address),
            self.m_axi_arlen.eq(reader.ar_length),
            self.m_axi_arvalid.eq(reader.ar_valid),
            reader.ar_ready.eq(self.m_axi_arready),
            reader.r_data.eq(self.m_axi_rdata),
            reader.r_resp.eq(self.m_axi_rresp),
            reader.r_valid.eq(self.m_axi_rvalid),
            self.m_axi_rready.eq(reader.r_ready),
            self.m_axi_awaddr.eq(writer.aw_address),
            self.m_axi_awlen.eq(writer.aw_length),
            self.m_axi_awvalid.eq(writer.aw_valid),
            writer.aw_ready.eq(self.m_axi_awready),
            self.m_axi_wdata.eq(writer.w_data),
            self.m_axi_wstrb.eq(writer.w_strobe),
            self.m_axi_wlast.eq(writer.w_last),
            self.m_axi_wvalid.eq(writer.w_valid),
            writer.w_ready.eq(self.m_axi_wready),
            writer.b_resp.eq(self.m_axi_bresp),
            writer.b_valid.eq(self.m_axi_bvalid),
            self.m_axi_bready.eq(writer.b_ready),
        ]

    def _build_control(
        self,
        m: Module,
        registers: RegistersBlock,
        control: RunControl,
        reader: AxiReader,
        writer: AxiWriter,
        loader: ProgramLoader,
        results: ResultDma,
        drain: Drain,
        flows: list[ImageContext],
    ) -> None:
        """Connect commands, and every way to fail."""
        held = registers.held
        m.d.comb += [
            control.command.eq(registers.written.control),
            control.clear_error.eq(registers.touched.error),
            control.clear_irq.eq(registers.written.irq_status),
            control.irq_enable.eq(held.irq_enable),
            control.program_base.eq(held.program_base_low),
            control.image_base.eq(held.image_base_low),
            control.result_base.eq(held.result_base_low),
            control.image_count.eq(held.image_count),
            control.watchdog.eq(held.watchdog),
            control.unmapped.eq(registers.unmapped),
            control.loading_done.eq(~loader.busy & ~drain.clear_busy),
            control.written.eq(results.written),
            control.bus_idle.eq(reader.idle & writer.idle),
        ]
        failures = [
            (reader.error, ErrorCode.AXI_READ),
            (writer.error, ErrorCode.AXI_WRITE),
            (loader.error_valid, loader.error),
            *((flow.error_valid, flow.error) for flow in flows),
        ]
        failure = Signal(ErrorCode)
        for valid, code in reversed(failures):
            with m.If(valid):
                m.d.comb += failure.eq(code)
        m.d.sync += [
            control.failed.eq(reduce(or_, (valid for valid, _ in failures))),
            control.failure.eq(failure),
        ]

    def _build_transfers(
        self,
        m: Module,
        registers: RegistersBlock,
        control: RunControl,
        reader: AxiReader,
        writer: AxiWriter,
        loader: ProgramLoader,
        images: ImageDma,
        results: ResultDma,
    ) -> None:
        """Connect loader, images and results with the bus; loader and images never meet."""
        held = registers.held
        bases = {
            name: Cat(
                getattr(held, f"{name}_base_low"), getattr(held, f"{name}_base_high", Const(0, 1))
            )
            for name in ("program", "image", "result")
        }
        m.d.comb += [
            loader.start.eq(control.start_load),
            loader.base.eq(bases["program"]),
            images.base.eq(bases["image"]),
            results.base.eq(bases["result"]),
            images.start.eq(control.start_run),
            results.start.eq(control.start_run),
            images.count.eq(held.image_count),
            images.words.eq(loader.header.input_words),
            results.words.eq(loader.header.result_words),
            results.writer_idle.eq(writer.idle),
            reader.abort.eq(control.stop),
            writer.abort.eq(control.stop),
        ]
        with m.If(control.running):
            m.d.comb += [
                reader.transfers.payload.eq(images.transfers.payload),
                reader.transfers.valid.eq(images.transfers.valid),
                images.transfers.ready.eq(reader.transfers.ready),
                images.i.valid.eq(reader.o.valid),
                reader.o.ready.eq(images.i.ready),
            ]
        with m.Else():
            m.d.comb += [
                reader.transfers.payload.eq(loader.transfers.payload),
                reader.transfers.valid.eq(loader.transfers.valid),
                loader.transfers.ready.eq(reader.transfers.ready),
                loader.i.valid.eq(reader.o.valid),
                reader.o.ready.eq(loader.i.ready),
            ]
        m.d.comb += [images.i.payload.eq(reader.o.payload), loader.i.payload.eq(reader.o.payload)]
        wiring.connect(m, results.transfers, writer.transfers)
        wiring.connect(m, results.o, writer.i)

    def _build_images(
        self,
        m: Module,
        control: RunControl,
        loader: ProgramLoader,
        images: ImageDma,
        results: ResultDma,
        flows: list[ImageContext],
    ) -> None:
        """Connect the contexts with programs, images and results."""
        for number, flow in enumerate(flows):
            wiring.connect(m, images.beats[number], flow.beats)
            m.d.comb += [
                flow.flush.eq(control.stop),
                flow.start.eq(control.start_run),
                flow.instructions.eq(loader.header.instructions),
                flow.input_base.eq(loader.header.input_base),
                flow.result_base.eq(loader.header.result_base),
                flow.load_valid.eq(loader.load_valid),
                flow.load.eq(loader.load),
                flow.image_ready.eq(images.image_ready[number]),
                flow.result_word.eq(results.result_word),
                flow.result_done.eq(results.result_done[number]),
                images.input_free[number].eq(flow.input_free),
                results.result_valid[number].eq(flow.result_valid),
                results.result_data[number].eq(flow.result_data),
            ]

    def _build_compute(
        self,
        m: Module,
        control: RunControl,
        loader: ProgramLoader,
        drain: Drain,
        flows: list[ImageContext],
        clusters: list[Cluster],
    ) -> None:
        """Connect contexts, clusters and the drain."""
        m.d.comb += [
            drain.flush.eq(control.stop),
            drain.clear.eq(control.start_load),
            drain.load_valid.eq(loader.load_valid),
            drain.load.eq(loader.load),
        ]
        for number, flow in enumerate(flows):
            m.d.comb += [
                drain.request[number].eq(flow.request),
                drain.jobs[number].eq(flow.job),
                flow.drain_done.eq(drain.done[number]),
                flow.drain_theta.eq(drain.theta[number]),
                flow.drain_written.eq(drain.written[number]),
                flow.row_valid.eq(drain.row_valid),
                flow.row.eq(drain.row),
            ]
            for place, cluster in enumerate(clusters):
                wiring.connect(m, flow.tokens[place], cluster.i[number])
                m.d.comb += [
                    cluster.arm[number].eq(flow.arm),
                    flow.cluster_done[place].eq(cluster.done[number]),
                ]
        for place, cluster in enumerate(clusters):
            m.d.comb += [
                cluster.load_valid.eq(loader.load_valid),
                cluster.load.eq(loader.load),
                cluster.drain_valid.eq(drain.acc_read_valid),
                cluster.drain.eq(drain.acc_read),
            ]
            for group in range(self._config.groups):
                m.d.comb += drain.sums[place][group].eq(cluster.sums[group])

    def _build_counters(
        self,
        m: Module,
        control: RunControl,
        counters: PerformanceCounters,
        flows: list[ImageContext],
        clusters: list[Cluster],
    ) -> None:
        m.d.comb += [
            counters.clear.eq(control.start_run),
            counters.running.eq(control.running & ~control.start_run),
            counters.skipping.eq(reduce(or_, (flow.skipping for flow in flows))),
            counters.computing.eq(reduce(or_, (flow.computing for flow in flows))),
            counters.draining.eq(reduce(or_, (flow.draining for flow in flows))),
            counters.topn.eq(reduce(or_, (flow.topn for flow in flows))),
        ]
        for number, flow in enumerate(flows):
            m.d.comb += [
                counters.read_count[number].eq(flow.read_count),
                counters.zero_count[number].eq(flow.zero_count),
                counters.below_count[number].eq(flow.below_count),
            ]
        for place, cluster in enumerate(clusters):
            m.d.comb += [
                counters.issue_count[place].eq(cluster.issue_count),
                counters.empty_count[place].eq(cluster.empty_count),
                counters.blocked[place].eq(cluster.blocked),
            ]

    def _build_progress(
        self,
        m: Module,
        control: RunControl,
        reader: AxiReader,
        writer: AxiWriter,
        loader: ProgramLoader,
        drain: Drain,
        flows: list[ImageContext],
        clusters: list[Cluster],
    ) -> None:
        """Tell the watchdog whether anything moves; the clear ends by itself."""
        m.d.sync += control.progress.eq(
            reader.progress
            | writer.progress
            | drain.row_valid
            | (drain.clear_busy & ~loader.busy)
            | Cat(flow.read_count for flow in flows).any()
            | Cat((cluster.issue_count, cluster.empty_count) for cluster in clusters).any()
        )

    def _build_monitor(
        self,
        m: Module,
        monitor: Monitor,
        drain: Drain,
        results: ResultDma,
        flows: list[ImageContext],
    ) -> None:
        m.d.comb += [
            monitor.row_valid.eq(drain.row_valid),
            monitor.row.eq(drain.row),
            monitor.row_index.eq(drain.row_index),
            *(monitor.image[number].eq(image) for number, image in enumerate(results.image)),
        ]
        for number, flow in enumerate(flows):
            m.d.comb += [
                monitor.layer[number].eq(flow.layer),
                monitor.theta_valid[number].eq(flow.theta_valid),
                monitor.theta[number].eq(flow.theta),
            ]
        for name in trace_members(self._config):
            m.d.comb += getattr(self, name).eq(getattr(monitor, name))
