"""Writes the contexts' results to memory."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.burst_cutter import transfer_layout
from jpnet_hw.layouts import context_shape
from jpnet_spec.config import AcceleratorConfig

__all__ = ["ResultDma"]


class ResultDma(wiring.Component):
    """Write the result of image i, which context ``i % contexts`` computes, in the images' order.

    A word takes `read_latency` cycles and its beats one each. A result counts as done when the
    memory has answered for all of it; the context is released before, when the last word was read.

    Parameters
    ----------
    config
        The accelerator.
    read_latency
        Cycles from `result_word` to `result_data`.

    Members
    -------
    start : in
        Pulse: write results from `base` on. Only after a reset or when all are written.
    base, words : in
        Address of the first result, activation words of one; held stable.
    result_valid : in, one bit per context
        Level: the context's result may be read.
    result_word : out
        Word of the result that is read.
    result_data : in, unsigned(8 * act_word) per context
        That word.
    result_done : out, one bit per context
        Pulse: the last word was received.
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
    """

    start: Signal
    base: Signal
    words: Signal
    result_valid: Signal
    result_word: Signal
    result_data: list[Signal]
    result_done: Signal
    transfers: stream.Interface
    o: stream.Interface
    writer_idle: Signal
    written: Signal
    image: list[Signal]

    def __init__(self, config: AcceleratorConfig, *, read_latency: int) -> None:
        self._config = config
        self._read_latency = read_latency
        super().__init__(
            {
                "start": In(1),
                "base": In(config.axi_addr_width),
                "words": In(range(config.act_depth * config.clusters + 1)),
                "result_valid": In(config.contexts),
                "result_word": Out(range(config.act_depth * config.clusters)),
                "result_data": In(8 * config.act_word).array(config.contexts),
                "result_done": Out(config.contexts),
                "transfers": Out(stream.Signature(transfer_layout(config))),
                "o": Out(stream.Signature(unsigned(config.axi_data_width))),
                "writer_idle": In(1),
                "written": Out(1),
                "image": Out(32).array(config.contexts),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        word_beats = config.act_word // config.beat_bytes
        context = Signal(context_shape(config))
        wait = Signal(range(self._read_latency + 1))
        left = Signal.like(self.words)
        beat = Signal(range(word_beats + 1))
        word = Signal(8 * config.act_word, reset_less=True)
        transfer = self.transfers.payload
        m.d.comb += self.o.payload.eq(word[: config.axi_data_width])
        m.d.sync += [self.result_done.eq(0), self.written.eq(0)]
        with m.FSM(name="result"):
            with m.State("WAIT"):
                m.d.sync += [
                    self.result_word.eq(0),
                    left.eq(self.words),
                    wait.eq(self._read_latency - 1),
                    transfer.beats.eq(self.words * word_beats),
                ]
                with m.If(self.result_valid.bit_select(context, 1)):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.transfers.valid.eq(1)
                with m.If(self.transfers.ready):
                    m.next = "READ"
            with m.State("READ"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    with m.Switch(context):
                        for number, result in enumerate(self.result_data):
                            with m.Case(number):
                                m.d.sync += word.eq(result)
                    m.d.sync += [
                        left.eq(left - 1),
                        self.result_word.eq(self.result_word + 1),
                        wait.eq(self._read_latency - 1),
                    ]
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(word >> config.axi_data_width), beat.eq(beat + 1)]
                    with m.If(beat == word_beats - 1):
                        m.d.sync += beat.eq(0)
                        m.next = "READ"
                        with m.If(left == 0):
                            m.d.sync += self.result_done.bit_select(context, 1).eq(1)
                            m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(self.writer_idle):
                    m.d.sync += [
                        self.written.eq(1),
                        context.eq(Mux(context == config.contexts - 1, 0, context + 1)),
                        transfer.address.eq(transfer.address + self.words * config.act_word),
                    ]
                    m.next = "WAIT"
        self._build_images(m)
        with m.If(self.start):
            m.d.sync += [context.eq(0), transfer.address.eq(self.base)]
        return m

    def _build_images(self, m: Module) -> None:
        """Follow which image each context holds."""
        for number, image in enumerate(self.image):
            with m.If(self.start):
                m.d.sync += image.eq(number)
            with m.Elif(self.result_done[number]):
                m.d.sync += image.eq(image + self._config.contexts)
