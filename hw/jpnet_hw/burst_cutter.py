"""Cuts transfers into AXI4 bursts."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import struct_signal
from jpnet_spec.config import AcceleratorConfig

__all__ = ["BURST_BEATS", "BurstCutter", "burst_layout", "transfer_layout"]

BURST_BEATS = 16
"""Longest burst. Bursts end at multiples of it, so none crosses a 4 KiB boundary."""


def transfer_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Consecutive beats of memory: byte address, a multiple of the beat, and at least 1 beat."""
    return data.StructLayout({"address": unsigned(config.axi_addr_width), "beats": unsigned(32)})


def burst_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One burst: byte address and beats."""
    return data.StructLayout(
        {"address": unsigned(config.axi_addr_width), "beats": range(BURST_BEATS + 1)}
    )


class BurstCutter(wiring.Component):
    """Give a transfer's bursts one after the other, at most every second cycle.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    i : in, stream of `transfer_layout`
        Transfers.
    o : out, stream of `burst_layout`
        Their bursts.
    abort : in
        While high: forget the transfer and those that come, offer nothing.
    busy : out
        A transfer's bursts are not all taken.
    """

    i: stream.Interface
    o: stream.Interface
    abort: Signal
    busy: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "i": In(stream.Signature(transfer_layout(config))),
                "o": Out(stream.Signature(burst_layout(config))),
                "abort": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        shift = exact_log2(config.beat_bytes)
        left = struct_signal(transfer_layout(config), name="left", reset_less=True)
        burst = self.o.payload
        ready = Signal()
        room = Signal(range(BURST_BEATS + 1))
        place = left.address[shift : shift + exact_log2(BURST_BEATS)]
        m.d.comb += [
            self.i.ready.eq(~self.busy),
            self.o.valid.eq(ready & ~self.abort),
            room.eq(BURST_BEATS - place),
        ]
        with m.If(self.abort):
            m.d.sync += [self.busy.eq(0), ready.eq(0)]
        with m.Elif(~self.busy):
            m.d.sync += [left.eq(self.i.payload), self.busy.eq(self.i.valid)]
        with m.Elif(~ready):
            m.d.sync += [
                ready.eq(1),
                burst.address.eq(left.address),
                burst.beats.eq(Mux(left.beats < room, left.beats, room)),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += [
                ready.eq(0),
                left.address.eq(left.address + (burst.beats << shift)),
                left.beats.eq(left.beats - burst.beats),
                self.busy.eq(left.beats != burst.beats),
            ]
        return m
