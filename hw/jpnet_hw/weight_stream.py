"""Prefetches the blocks of streamed lists."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.block_slots import BlockSlots
from jpnet_hw.burst_cutter import BurstCutter, transfer_layout
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SLOTS

__all__ = ["WeightStream"]


class WeightStream(wiring.Component):
    """Request the next block as soon as its slot is free, the first one again after the last.

    A block is requested when the checksum of the one before was right, as that one tells its
    length; its bursts are given one by one, so that other transfers may go between them. Slots and
    contexts are followed as told by `jpnet_hw.block_slots.BlockSlots`. The slots are
    filled when a program is loaded, and again at the end of each run.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    clear, base : in
        Pulse: a program at that address is about to be loaded, forget the one before.
    opened : in
        Pulse: the program is loaded; `program_words`, `blocks` and `block_words` are valid.
    program_words : in
        Words before the first block.
    blocks, in_flight : in
        Blocks of the stream, 0 for none, and images in flight; held stable.
    block_words : in
        Words of the block that is requested next.
    block_done : in
        Pulse: the block requested is in its slot.
    start, count, finished, ready
        As in `jpnet_hw.block_slots.BlockSlots`.
    transfers : out, stream of `transfer_layout`
        Bursts, to the bus.
    slot : out
        Slot of the block that is, or will be, requested.
    busy : out
        A slot is empty or being filled.
    """

    clear: Signal
    base: Signal
    opened: Signal
    program_words: Signal
    blocks: Signal
    in_flight: Signal
    block_words: Signal
    block_done: Signal
    start: Signal
    count: Signal
    finished: Signal
    ready: Signal
    transfers: stream.Interface
    slot: Signal
    busy: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "clear": In(1),
                "base": In(config.axi_addr_width),
                "opened": In(1),
                "program_words": In(32),
                "blocks": In(range(config.program_depth + 2)),
                "in_flight": In(range(config.contexts + 1)),
                "block_words": In(32),
                "block_done": In(1),
                "start": In(1),
                "count": In(32),
                "finished": In(config.contexts),
                "ready": Out(config.contexts),
                "transfers": Out(stream.Signature(transfer_layout(config))),
                "slot": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.slots = slots = BlockSlots(config)
        m.submodules.cutter = cutter = BurstCutter(config)
        streamed, requested, cleared = Signal(), Signal(), Signal()
        # A burst taken in that cycle is one taken before: the bus has it.
        m.d.sync += cleared.eq(self.clear)
        address, origin = (
            Signal(config.axi_addr_width, name=name, reset_less=True)
            for name in ("address", "origin")
        )
        number = Signal.like(self.blocks)
        shift = exact_log2(config.beat_bytes // 4)
        m.d.comb += [
            slots.clear.eq(self.clear),
            slots.streamed.eq(streamed),
            slots.blocks.eq(self.blocks),
            slots.in_flight.eq(self.in_flight),
            slots.start.eq(self.start),
            slots.count.eq(self.count),
            slots.loaded.eq(Mux(self.block_done, Const(1, SLOTS) << self.slot, 0)),
            slots.finished.eq(self.finished),
            self.ready.eq(slots.ready),
            cutter.abort.eq(cleared),
            cutter.i.valid.eq(streamed & ~requested & slots.free.bit_select(self.slot, 1)),
            cutter.i.payload.address.eq(address),
            cutter.i.payload.beats.eq(self.block_words >> shift),
            self.transfers.valid.eq(cutter.o.valid),
            self.transfers.payload.address.eq(cutter.o.payload.address),
            self.transfers.payload.beats.eq(cutter.o.payload.beats),
            cutter.o.ready.eq(self.transfers.ready),
            self.busy.eq(self.opened | (streamed & (requested | slots.free.any()))),
        ]
        with m.If(self.clear):
            m.d.sync += [streamed.eq(0), requested.eq(0), origin.eq(self.base)]
        with m.Elif(self.opened):
            first = origin + (self.program_words << 2)
            m.d.sync += [
                streamed.eq(self.blocks != 0),
                origin.eq(first),
                address.eq(first),
                number.eq(0),
                self.slot.eq(0),
            ]
        with m.Elif(cutter.i.valid & cutter.i.ready):
            m.d.sync += [requested.eq(1), address.eq(address + (self.block_words << 2))]
        with m.Elif(self.block_done):
            m.d.sync += [requested.eq(0), self.slot.eq(~self.slot), number.eq(number + 1)]
            with m.If(number == self.blocks - 1):
                m.d.sync += [number.eq(0), address.eq(origin)]
        return m
