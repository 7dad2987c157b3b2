"""Writes to memory in AXI4 bursts."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.axi_reader import BURST_BEATS, next_burst, transfer_layout
from jpnet_hw.layouts import struct_signal
from jpnet_spec.config import AcceleratorConfig

__all__ = ["AxiWriter"]

_OUTSTANDING_BURSTS = 4


class AxiWriter(wiring.Component):
    """Turn transfers and their beats into bursts and collect the answers.

    A burst's address is offered before its beats; the next burst begins when all beats of the one
    before were sent. `i` may be idle; the bus then waits.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    transfers : in, stream of `transfer_layout`
        Where to write.
    i : in, stream of unsigned(axi_data_width)
        The beats.
    abort : in
        While high: forget transfers, finish the burst under way with beats that write nothing.
    idle : out
        No transfer or burst is under way, and every burst was answered.
    error : out
        Pulse: the memory answered a burst with an error.
    progress : out
        Pulse: the bus transferred something.
    aw_address, aw_length, aw_valid, aw_ready, w_data, w_strobe, w_last, w_valid, w_ready, b_resp,
    b_valid, b_ready
        The bus: write address, write data and answer channels.
    """

    transfers: stream.Interface
    i: stream.Interface
    abort: Signal
    idle: Signal
    error: Signal
    progress: Signal
    aw_address: Signal
    aw_length: Signal
    aw_valid: Signal
    aw_ready: Signal
    w_data: Signal
    w_strobe: Signal
    w_last: Signal
    w_valid: Signal
    w_ready: Signal
    b_resp: Signal
    b_valid: Signal
    b_ready: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "transfers": In(stream.Signature(transfer_layout(config))),
                "i": In(stream.Signature(unsigned(config.axi_data_width))),
                "abort": In(1),
                "idle": Out(1),
                "error": Out(1),
                "progress": Out(1),
                "aw_address": Out(config.axi_addr_width),
                "aw_length": Out(8),
                "aw_valid": Out(1),
                "aw_ready": In(1),
                "w_data": Out(config.axi_data_width),
                "w_strobe": Out(config.beat_bytes),
                "w_last": Out(1),
                "w_valid": Out(1),
                "w_ready": In(1),
                "b_resp": In(2),
                "b_valid": In(1),
                "b_ready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        active = Signal()
        left = Signal(range(BURST_BEATS + 1))
        unanswered = Signal(range(_OUTSTANDING_BURSTS + 1))
        issue = self._build_requests(m, active, left, unanswered)
        self._build_beats(m, left)
        answered = Signal()
        m.d.comb += [
            self.b_ready.eq(1),
            answered.eq(self.b_valid & (unanswered != 0)),
            self.idle.eq(~active & (left == 0) & (unanswered == 0) & ~self.aw_valid),
        ]
        m.d.sync += [
            unanswered.eq(unanswered + issue - answered),
            self.error.eq(answered & self.b_resp[1]),
            self.progress.eq(
                answered | (self.aw_valid & self.aw_ready) | (self.w_valid & self.w_ready)
            ),
        ]
        return m

    def _build_requests(
        self, m: Module, active: Signal, left: Signal, unanswered: Signal
    ) -> Signal:
        """Issue bursts; return whether one is issued in this cycle."""
        config = self._config
        transfer = struct_signal(transfer_layout(config), name="transfer", reset_less=True)
        beats = next_burst(m, transfer, config.beat_bytes)
        channel_free = ~self.aw_valid | self.aw_ready
        issue = Signal()
        m.d.comb += [
            self.transfers.ready.eq(~active),
            issue.eq(
                active
                & ~self.abort
                & channel_free
                & (left == 0)
                & (unanswered != _OUTSTANDING_BURSTS)
            ),
        ]
        with m.If(channel_free):
            m.d.sync += self.aw_valid.eq(issue)
        with m.If(issue):
            m.d.sync += [
                self.aw_address.eq(transfer.address),
                self.aw_length.eq(beats - 1),
                left.eq(beats),
                transfer.address.eq(transfer.address + (beats << exact_log2(config.beat_bytes))),
                transfer.beats.eq(transfer.beats - beats),
                active.eq(transfer.beats != beats),
            ]
        with m.If(self.abort):
            m.d.sync += active.eq(0)
        with m.Elif(self.transfers.valid & ~active):
            m.d.sync += [transfer.eq(self.transfers.payload), active.eq(1)]
        return issue

    def _build_beats(self, m: Module, left: Signal) -> None:
        """Send the burst's beats; an aborted burst ends with beats without strobes."""
        beat_bytes = self._config.beat_bytes
        channel_free = ~self.w_valid | self.w_ready
        send = Signal()
        m.d.comb += [
            self.i.ready.eq(channel_free & (left != 0) & ~self.abort),
            send.eq(channel_free & (left != 0) & (self.i.valid | self.abort)),
        ]
        with m.If(channel_free):
            m.d.sync += self.w_valid.eq(send)
        with m.If(send):
            m.d.sync += [
                self.w_data.eq(self.i.payload),
                self.w_strobe.eq(Cat(~self.abort for _ in range(beat_bytes))),
                self.w_last.eq(left == 1),
                left.eq(left - 1),
            ]
