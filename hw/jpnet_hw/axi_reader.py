"""Reads from memory in AXI4 bursts."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.burst_cutter import BURST_BEATS, BurstCutter, transfer_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["AxiReader"]

_OUTSTANDING_BEATS = 64
_QUEUE_DEPTH = 16


class AxiReader(wiring.Component):
    """Turn transfers into bursts and deliver their beats in order.

    Up to `_OUTSTANDING_BEATS` beats are requested ahead. Transfers may follow each other without a
    gap. `o` may stall; the bus then waits.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    transfers : in, stream of `transfer_layout`
        What to read.
    o : out, stream of unsigned(axi_data_width)
        The beats.
    abort : in
        While high: forget transfers, finish the bursts already requested, drop their beats.
    idle : out
        No transfer or burst is under way and no beat waits, one cycle late.
    error : out
        Pulse: the memory answered a beat with an error; the beat is dropped.
    progress : out
        Pulse: the bus transferred something.
    ar_address, ar_length, ar_valid, ar_ready, r_data, r_resp, r_valid, r_ready
        The bus: read address and read data channels.
    """

    transfers: stream.Interface
    o: stream.Interface
    abort: Signal
    idle: Signal
    error: Signal
    progress: Signal
    ar_address: Signal
    ar_length: Signal
    ar_valid: Signal
    ar_ready: Signal
    r_data: Signal
    r_resp: Signal
    r_valid: Signal
    r_ready: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "transfers": In(stream.Signature(transfer_layout(config))),
                "o": Out(stream.Signature(unsigned(config.axi_data_width))),
                "abort": In(1),
                "idle": Out(1),
                "error": Out(1),
                "progress": Out(1),
                "ar_address": Out(config.axi_addr_width),
                "ar_length": Out(8),
                "ar_valid": Out(1),
                "ar_ready": In(1),
                "r_data": In(config.axi_data_width),
                "r_resp": In(2),
                "r_valid": In(1),
                "r_ready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.cutter = cutter = BurstCutter(config)
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(
            width=config.axi_data_width, depth=_QUEUE_DEPTH
        )
        wiring.connect(m, wiring.flipped(self.transfers), cutter.i)
        burst = cutter.o.payload
        outstanding = Signal(range(_OUTSTANDING_BEATS + 1))
        channel_free = ~self.ar_valid | self.ar_ready
        issue = Signal()
        taken = Signal()
        m.d.comb += [
            cutter.abort.eq(self.abort),
            cutter.o.ready.eq(channel_free & (outstanding <= _OUTSTANDING_BEATS - BURST_BEATS)),
            issue.eq(cutter.o.valid & cutter.o.ready),
            self.r_ready.eq(queue.w_rdy),
            taken.eq(self.r_valid & self.r_ready),
            queue.w_data.eq(self.r_data),
            queue.w_en.eq(taken & ~self.r_resp[1] & ~self.abort),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy & ~self.abort),
            queue.r_en.eq(self.o.ready | self.abort),
        ]
        with m.If(channel_free):
            m.d.sync += self.ar_valid.eq(issue)
        with m.If(issue):
            m.d.sync += [self.ar_address.eq(burst.address), self.ar_length.eq(burst.beats - 1)]
        m.d.sync += [
            outstanding.eq(outstanding + Mux(issue, burst.beats, 0) - taken),
            self.error.eq(taken & self.r_resp[1]),
            self.progress.eq(taken | (self.ar_valid & self.ar_ready)),
            self.idle.eq(~cutter.busy & (outstanding == 0) & ~self.ar_valid & ~queue.r_rdy),
        ]
        return m
