"""Writes to memory in AXI4 bursts."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.burst_cutter import BURST_BEATS, BurstCutter, transfer_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["AxiWriter"]

_OUTSTANDING_BURSTS = 4


class AxiWriter(wiring.Component):
    """Turn transfers and their beats into bursts and collect the answers.

    A burst's address is offered before its beats; the next burst begins when all beats of the one
    before were sent. `i` may be idle; the bus then waits. At most every second cycle takes a beat.

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
        config = self._config
        m.submodules.cutter = cutter = BurstCutter(config)
        wiring.connect(m, wiring.flipped(self.transfers), cutter.i)
        burst = cutter.o.payload
        left = Signal(range(BURST_BEATS + 1))
        unanswered = Signal(range(_OUTSTANDING_BURSTS + 1))
        channel_free = ~self.aw_valid | self.aw_ready
        issue = Signal()
        answered = Signal()
        self._build_beats(m, left)
        m.d.comb += [
            cutter.abort.eq(self.abort),
            cutter.o.ready.eq(channel_free & (left == 0) & (unanswered != _OUTSTANDING_BURSTS)),
            issue.eq(cutter.o.valid & cutter.o.ready),
            self.b_ready.eq(1),
            answered.eq(self.b_valid & (unanswered != 0)),
            self.idle.eq(~cutter.busy & (unanswered == 0) & ~self.aw_valid),
        ]
        with m.If(channel_free):
            m.d.sync += self.aw_valid.eq(issue)
        with m.If(issue):
            m.d.sync += [
                self.aw_address.eq(burst.address),
                self.aw_length.eq(burst.beats - 1),
                left.eq(burst.beats),
            ]
        m.d.sync += [
            unanswered.eq(unanswered + issue - answered),
            self.error.eq(answered & self.b_resp[1]),
            self.progress.eq(
                answered | (self.aw_valid & self.aw_ready) | (self.w_valid & self.w_ready)
            ),
        ]
        return m

    def _build_beats(self, m: Module, left: Signal) -> None:
        """Send the burst's beats; an aborted burst ends with beats without strobes.

        A beat is taken only once the one before has gone: what the bus answers stays here.
        """
        beat_bytes = self._config.beat_bytes
        free, send = Signal(), Signal()
        m.d.comb += [
            free.eq(~self.w_valid),
            self.i.ready.eq(free & (left != 0) & ~self.abort),
            send.eq(free & (left != 0) & (self.i.valid | self.abort)),
        ]
        with m.If(free):
            # Whether or not a beat is sent: data may come from afar.
            m.d.sync += [
                self.w_data.eq(self.i.payload),
                self.w_strobe.eq(Cat(~self.abort for _ in range(beat_bytes))),
                self.w_last.eq(left == 1),
            ]
        with m.If(send):
            m.d.sync += [self.w_valid.eq(1), left.eq(left - 1)]
        with m.Elif(self.w_ready):
            m.d.sync += self.w_valid.eq(0)
