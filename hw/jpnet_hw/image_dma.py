"""Fetches images into the contexts, ahead of their computation."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.activation_memory import image_beat_layout
from jpnet_hw.burst_cutter import transfer_layout
from jpnet_hw.layouts import context_shape
from jpnet_spec.config import AcceleratorConfig

__all__ = ["ImageDma"]


class ImageDma(wiring.Component):
    """Give image i to context ``i % in_flight`` as soon as that has room for it.

    The next image is requested from memory while the one before arrives, so the memory's latency
    is hidden. One beat per cycle.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    start : in
        Pulse: fetch `count` images from `base` on. Only after a reset or when all are fetched.
    base, count, rows, in_flight : in
        Address of the first image, number of images, rows of one, images in flight; held stable.
    transfers : out, stream of `transfer_layout`
        To the bus.
    i : in, stream of unsigned(axi_data_width)
        From the bus.
    beats : out, stream of `image_beat_layout`
        Image data.
    input_free : in, one bit per context
        Level: the context takes an image.
    image_ready : in, one bit per context
        Pulse: the context's image is complete.
    """

    start: Signal
    base: Signal
    count: Signal
    rows: Signal
    in_flight: Signal
    transfers: stream.Interface
    i: stream.Interface
    beats: stream.Interface
    input_free: Signal
    image_ready: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        rows = config.act_depth * config.contexts * config.clusters * config.act_columns
        super().__init__(
            {
                "start": In(1),
                "base": In(config.axi_addr_width),
                "count": In(32),
                "rows": In(range(rows + 1)),
                "in_flight": In(range(config.contexts + 1)),
                "transfers": Out(stream.Signature(transfer_layout(config))),
                "i": In(stream.Signature(unsigned(config.axi_data_width))),
                "beats": Out(stream.Signature(image_beat_layout(config))),
                "input_free": In(config.contexts),
                "image_ready": In(config.contexts),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fetching = Signal(self._config.contexts)
        self._build_requests(m, fetching)
        self._build_beats(m, fetching)
        return m

    def _build_requests(self, m: Module, fetching: Signal) -> None:
        """Request each image once its context is free."""
        config = self._config
        left = Signal(32)
        context = Signal(context_shape(config))
        free = Signal()
        transfer = self.transfers.payload
        beats = (self.rows + config.beat_rows - 1) >> exact_log2(config.beat_rows)
        m.d.comb += free.eq(
            (self.input_free & ~fetching).bit_select(context, 1) & ~self.transfers.valid
        )
        with m.If(self.transfers.valid & self.transfers.ready):
            m.d.sync += [
                self.transfers.valid.eq(0),
                transfer.address.eq(transfer.address + transfer.beats * config.beat_bytes),
            ]
        with m.If(self.start):
            m.d.sync += [
                left.eq(self.count),
                context.eq(0),
                transfer.address.eq(self.base),
                transfer.beats.eq(beats),
            ]
        with m.Elif((left != 0) & free):
            m.d.sync += [
                self.transfers.valid.eq(1),
                left.eq(left - 1),
                fetching.bit_select(context, 1).eq(1),
                context.eq(Mux(context == self.in_flight - 1, 0, context + 1)),
            ]

    def _build_beats(self, m: Module, fetching: Signal) -> None:
        """Pass each image's beats to its context."""
        config = self._config
        context = Signal(context_shape(config))
        beat = Signal.like(self.beats.payload.beat)
        last_beat = Signal.like(self.transfers.payload.beats)
        taken = Signal()
        m.d.sync += last_beat.eq(self.transfers.payload.beats - 1)
        m.d.comb += [
            self.beats.payload.context.eq(context),
            self.beats.payload.beat.eq(beat),
            self.beats.payload.last.eq(beat == last_beat),
            self.beats.payload.data.eq(self.i.payload),
            self.beats.valid.eq(self.i.valid),
            self.i.ready.eq(self.beats.ready),
        ]
        for number in range(config.contexts):
            # Only after the pulse, in which input_free is still up, may it be asked again.
            with m.If(self.image_ready[number]):
                m.d.sync += fetching[number].eq(0)
        m.d.comb += taken.eq(self.i.valid & self.i.ready)
        with m.If(self.start):
            m.d.sync += context.eq(0)
        with m.Elif(taken):
            m.d.sync += beat.eq(beat + 1)
            with m.If(beat == last_beat):
                m.d.sync += [
                    beat.eq(0),
                    context.eq(Mux(context == self.in_flight - 1, 0, context + 1)),
                ]
