"""Writes the contexts' results to memory."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.burst_cutter import transfer_layout
from jpnet_hw.layouts import context_shape
from jpnet_spec.config import AcceleratorConfig

__all__ = ["ResultDma"]


class ResultDma(wiring.Component):
    """Write the result of image i, which context ``i % in_flight`` computes, in the images' order.

    A beat takes `read_latency` cycles, one for each of its rows, one for each time that a row is
    not read, and one to be sent. A result counts
    as done when the memory has answered for all of it; the context is released before, when the
    last row was read.

    Parameters
    ----------
    config
        The accelerator.
    read_latency
        Cycles from `result_row` to `result_data`.

    Members
    -------
    start : in
        Pulse: write results from `base` on. Only after a reset or when all are written.
    base, rows, in_flight : in
        Address of the first result, rows of one, images in flight; held stable.
    result_valid : in, one bit per context
        Level: the context's result may be read.
    result_read : out
        A row is to be read in this cycle.
    result_context, result_row : out
        Whose, and which row of the result.
    result_granted : in
        It is read.
    result_data : in, unsigned(8 * lanes)
        That row.
    result_done : out, one bit per context
        Pulse: the last row was received.
    transfers : out, stream of `transfer_layout`
        To the bus.
    o : out, stream of unsigned(axi_data_width)
        To the bus.
    writer_idle : in
        Every write was answered.
    written : out
        Pulse: one more result is in memory.
    image : out, unsigned(32) per context
        Number of the image that the context holds.
    oldest : out, one bit per context
        The context whose image is the oldest; those after it, in turn, hold the younger ones.
    """

    start: Signal
    base: Signal
    rows: Signal
    in_flight: Signal
    result_valid: Signal
    result_read: Signal
    result_context: Signal
    result_row: Signal
    result_granted: Signal
    result_data: Signal
    result_done: Signal
    transfers: stream.Interface
    o: stream.Interface
    writer_idle: Signal
    written: Signal
    image: list[Signal]
    oldest: Signal

    def __init__(self, config: AcceleratorConfig, *, read_latency: int) -> None:
        self._config = config
        self._read_latency = read_latency
        self._read = Signal()
        self._coming = Signal(read_latency)
        rows = config.act_depth * config.contexts * config.clusters * config.act_columns
        super().__init__(
            {
                "start": In(1),
                "base": In(config.axi_addr_width),
                "rows": In(range(rows + 1)),
                "in_flight": In(range(config.contexts + 1)),
                "result_valid": In(config.contexts),
                "result_read": Out(1),
                "result_context": Out(context_shape(config)),
                "result_row": Out(range(rows)),
                "result_granted": In(1),
                "result_data": In(8 * config.lanes),
                "result_done": Out(config.contexts),
                "transfers": Out(stream.Signature(transfer_layout(config))),
                "o": Out(stream.Signature(unsigned(config.axi_data_width))),
                "writer_idle": In(1),
                "written": Out(1),
                "image": Out(32).array(config.contexts),
                "oldest": Out(config.contexts),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        context = Signal(context_shape(config))
        left = Signal.like(self.rows)
        beat = Signal(config.axi_data_width, reset_less=True)
        transfer = self.transfers.payload
        row_shift = exact_log2(config.beat_rows)
        m.d.comb += [self.o.payload.eq(beat), self.result_context.eq(context)]
        self._build_shift(m, beat, left == 0)
        m.d.sync += [self.result_done.eq(0), self.written.eq(0)]
        with m.FSM(name="result"):
            with m.State("WAIT"):
                m.d.sync += [
                    self.result_row.eq(0),
                    left.eq(self.rows),
                    transfer.beats.eq((self.rows + config.beat_rows - 1) >> row_shift),
                ]
                with m.If(self.result_valid.bit_select(context, 1)):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.transfers.valid.eq(1)
                with m.If(self.transfers.ready):
                    m.next = "READ"
            with m.State("READ"):
                self._build_beat(m, left)
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "READ"
                    with m.If(left == 0):
                        m.d.sync += self.result_done.bit_select(context, 1).eq(1)
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(self.writer_idle):
                    m.d.sync += [
                        self.written.eq(1),
                        context.eq(Mux(context == self.in_flight - 1, 0, context + 1)),
                        transfer.address.eq(transfer.address + transfer.beats * config.beat_bytes),
                    ]
                    m.next = "WAIT"
        self._build_images(m)
        with m.If(self.start):
            m.d.sync += [context.eq(0), transfer.address.eq(self.base)]
        return m

    def _build_shift(self, m: Module, beat: Signal, beyond: Value) -> None:
        """Shift rows into the beat as they come; rows after the last are 0.

        Told by registers alone, which may lie on the way to the memory.
        """
        row = self.result_data
        blank = Signal(self._read_latency, reset_less=True)
        m.d.comb += self._read.eq(self.result_read & self.result_granted)
        m.d.sync += [
            self._coming.eq(Cat(self._read, self._coming)),
            blank.eq(Cat(beyond, blank)),
        ]
        with m.If(self._coming[-1]):
            m.d.sync += beat.eq(Cat(beat, Mux(blank[-1], 0, row)) >> len(row))

    def _build_beat(self, m: Module, left: Signal) -> None:
        """Read one row a cycle until a beat is together."""
        config = self._config
        asked, given = Signal(range(config.beat_rows + 1)), Signal(range(config.beat_rows + 1))
        m.d.comb += self.result_read.eq(asked != config.beat_rows)
        with m.If(self._read):
            m.d.sync += [asked.eq(asked + 1), self.result_row.eq(self.result_row + 1)]
            with m.If(left != 0):
                m.d.sync += left.eq(left - 1)
        with m.If(self._coming[-1]):
            m.d.sync += given.eq(given + 1)
            with m.If(given == config.beat_rows - 1):
                m.d.sync += [asked.eq(0), given.eq(0)]
                m.next = "SEND"

    def _build_images(self, m: Module) -> None:
        """Follow which image each context holds, and which is the oldest."""
        oldest = Signal(self._config.contexts, init=1)
        m.d.comb += self.oldest.eq(oldest)
        with m.If(self.start):
            m.d.sync += oldest.eq(1)
        with m.Elif(self.result_done.any()):
            last = Cat(self.in_flight == context + 1 for context in range(len(oldest)))
            m.d.sync += oldest.eq(Mux((oldest & last).any(), 1, oldest << 1))
        for number, image in enumerate(self.image):
            with m.If(self.start):
                m.d.sync += image.eq(number)
            with m.Elif(self.result_done[number]):
                m.d.sync += image.eq(image + self.in_flight)
