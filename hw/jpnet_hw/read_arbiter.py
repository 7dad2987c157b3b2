"""Shares the reads of the bus between its users."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.arbitration import first_from
from jpnet_hw.burst_cutter import transfer_layout
from jpnet_hw.layouts import struct_signal
from jpnet_spec.config import AcceleratorConfig

__all__ = ["ReadArbiter"]

_QUEUE_DEPTH = 8
"""Transfers under way; the reader holds no more beats than so many full bursts."""


class ReadArbiter(wiring.Component):
    """Pass transfers on, those of the first user first, and give each its beats.

    Transfers are kept whole, and beats come in the order of the transfers, so every user must take
    the beats it asked for without waiting for another. No cycle of latency, no gaps.

    Parameters
    ----------
    config
        The accelerator.
    users
        Number of users, the most urgent first.

    Members
    -------
    asks : in, one stream of `transfer_layout` a user
        What they want to read.
    gives : out, one stream of unsigned(axi_data_width) a user
        Its beats.
    transfers : out, stream of `transfer_layout`
        To the reader.
    i : in, stream of unsigned(axi_data_width)
        From the reader.
    """

    asks: list[stream.Interface]
    gives: list[stream.Interface]
    transfers: stream.Interface
    i: stream.Interface

    def __init__(self, config: AcceleratorConfig, *, users: int) -> None:
        self._config = config
        self._users = users
        transfers = stream.Signature(transfer_layout(config))
        beats = stream.Signature(unsigned(config.axi_data_width))
        super().__init__(
            {
                "asks": In(transfers).array(users),
                "gives": Out(beats).array(users),
                "transfers": Out(transfers),
                "i": In(beats),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        under_way = data.StructLayout({"user": unsigned(self._users), "beats": unsigned(32)})
        m.submodules.queue = queue = fifo.SyncFIFO(width=under_way.size, depth=_QUEUE_DEPTH)
        chosen = self._build_choice(m, queue.w_rdy)
        taken = self.transfers.valid & self.transfers.ready
        added = struct_signal(under_way)
        m.d.comb += [
            added.user.eq(chosen),
            added.beats.eq(self.transfers.payload.beats),
            queue.w_en.eq(taken),
            queue.w_data.eq(added),
        ]

        # The transfer whose beats come now; 0 users where none does.
        user, left = Signal(self._users), Signal(32, reset_less=True)
        last = Signal(reset_less=True)
        following = data.View(under_way, queue.r_data)
        beat = self.i.valid & self.i.ready
        m.d.comb += [
            queue.r_en.eq((user == 0) | (beat & last)),
            self.i.ready.eq((user & Cat(give.ready for give in self.gives)).any()),
        ]
        with m.If(beat):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
        with m.If(queue.r_en):
            m.d.sync += [
                user.eq(Mux(queue.r_rdy, following.user, 0)),
                left.eq(following.beats),
                last.eq(following.beats == 1),
            ]
        for number, give in enumerate(self.gives):
            m.d.comb += [
                give.payload.eq(self.i.payload),
                give.valid.eq(self.i.valid & user[number]),
            ]
        return m

    def _build_choice(self, m: Module, room: Value) -> Signal:
        """Offer the most urgent transfer until it is taken; return whose it is, one-hot."""
        users = self._users
        chosen, chosen_q = Signal(users), Signal(users)
        valid = Cat(ask.valid for ask in self.asks)
        m.d.comb += chosen.eq(Mux(chosen_q == 0, first_from(valid, Const(1, users)), chosen_q))
        m.d.sync += chosen_q.eq(Mux(self.transfers.valid & ~self.transfers.ready, chosen, 0))
        m.d.comb += self.transfers.valid.eq(chosen.any() & room)
        for number, ask in enumerate(self.asks):
            m.d.comb += ask.ready.eq(chosen[number] & room & self.transfers.ready)
            with m.If(chosen[number]):
                m.d.comb += self.transfers.payload.eq(ask.payload)
        return chosen
