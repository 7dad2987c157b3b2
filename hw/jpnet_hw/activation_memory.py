"""The activation memory: where rows, images and results lie, and who may read."""

from amaranth.hdl import Cat, Module, Signal, Value, signed, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.activation_bank import ActivationBank, beat_layout, beat_rows
from jpnet_hw.context_space import bank_address
from jpnet_hw.layouts import (
    carried_read_layout,
    context_shape,
    row_write_layout,
    struct_signal,
)
from jpnet_hw.register_slice import RegisterSlice
from jpnet_hw.word_network import WordNetwork, word_ask_layout
from jpnet_spec.config import AcceleratorConfig

__all__ = ["ActivationMemory", "image_beat_layout"]

_QUEUE_DEPTH = 8
"""Beats that may wait in front of a bank."""


def image_beat_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return one bus beat of an image, its number in it, whether it is the last, the context."""
    words = config.act_depth * config.contexts * config.clusters
    beats = words * config.act_word // config.beat_bytes
    return data.StructLayout(
        {
            "context": context_shape(config),
            "beat": unsigned((beats - 1).bit_length()),
            "last": unsigned(1),
            "data": unsigned(config.axi_data_width),
        }
    )


class ActivationMemory(wiring.Component):
    """One bank a cluster; takes drained rows and images, gives words to skippers, rows of results.

    Rows lie as told by `jpnet_spec.config.AcceleratorConfig.row_places`. A drained row never
    waits; beats of images wait in a short queue in front of each bank while rows are written.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    input_base, result_base : in
        First word address of the image and of the result; held stable.
    row_valid, row : in, `row_write_layout`
        Drained rows.
    beats : in stream of `image_beat_layout`
        Image data, in order; beat b holds rows ``b * beat_rows`` onwards.
    arriving : out, one bit a context
        Pulse: the first beat of an image is on its way into the banks.
    arrived : out, per context and cluster
        Words of the context's image that are completely there.
    image_ready : out, one bit a context
        Pulse: all of the image is there.
    restart, asks, granted, words
        Per skipper, as in `jpnet_hw.word_network.WordNetwork`.
    carried_read : in
        Read a row in every bank: in the next cycle no skipper is granted a word.
    carried : in, `carried_read_layout`
        Which.
    carried_rows : out, per cluster an array signed(8) of the lanes
        The rows, `CARRIED_LATENCY` cycles later.
    result_read : in
        Read a result: in the next cycle no skipper is granted a word.
    result_context, result_row : in
        Whose, and which row of it.
    result_granted : out
        The row is read; otherwise, as while `carried_read`, it is not.
    result_data : out, unsigned(8 * lanes)
        The row, `RESULT_LATENCY` cycles later.
    """

    LATENCY = WordNetwork.LATENCY
    RESULT_LATENCY = ActivationBank.LATENCY + 4
    CARRIED_LATENCY = ActivationBank.LATENCY + 3

    input_base: Signal
    result_base: Signal
    row_valid: Signal
    row: data.View
    beats: stream.Interface
    arriving: Signal
    arrived: list[list[Signal]]
    image_ready: Signal
    restart: Signal
    asks: list[data.View]
    granted: Signal
    words: list[Signal]
    carried_read: Signal
    carried: data.View
    carried_rows: list[data.View]
    result_read: Signal
    result_context: Signal
    result_row: Signal
    result_granted: Signal
    result_data: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        rows = range(config.act_depth * config.contexts * config.clusters * config.act_columns)
        carried_row = data.ArrayLayout(signed(8), config.lanes)
        arrived = Out(config.act_addr_width + 1)
        super().__init__(
            {
                "input_base": In(config.act_addr_width),
                "result_base": In(config.act_addr_width),
                "row_valid": In(1),
                "row": In(row_write_layout(config)),
                "beats": In(stream.Signature(image_beat_layout(config))),
                "arriving": Out(config.contexts),
                "arrived": arrived.array(config.contexts, config.clusters),
                "image_ready": Out(config.contexts),
                "restart": In(1),
                "asks": In(word_ask_layout(config)).array(config.clusters),
                "granted": Out(config.clusters),
                "words": Out(8 * config.act_word).array(config.clusters),
                "carried_read": In(1),
                "carried": In(carried_read_layout(config)),
                "carried_rows": Out(carried_row).array(config.clusters),
                "result_read": In(1),
                "result_context": In(context_shape(config)),
                "result_row": In(rows),
                "result_granted": Out(1),
                "result_data": Out(8 * config.lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        banks = [ActivationBank(config) for _ in range(config.clusters)]
        for number, bank in enumerate(banks):
            m.submodules[f"bank_{number}"] = bank
        self._build_rows(m, banks)
        self._build_beats(m, banks)
        self._build_reads(m, banks)
        return m

    def _build_rows(self, m: Module, banks: list[ActivationBank]) -> None:
        """Give drained rows to their banks."""
        row_q = struct_signal(row_write_layout(self._config), reset_less=True)
        row_valid_q = Signal()
        m.d.sync += [row_q.eq(self.row), row_valid_q.eq(self.row_valid)]
        for cluster, bank in enumerate(banks):
            m.d.comb += [
                bank.row_valid.eq(row_valid_q & row_q.banks[cluster]),
                bank.row_address.eq(bank_address(self._config, row_q.context, row_q.address)),
                bank.row_column.eq(row_q.column),
                bank.row_data.eq(row_q.acts[cluster]),
            ]

    def _build_beats(self, m: Module, banks: list[ActivationBank]) -> None:
        """Give the beats of images to their banks and count the words that are complete."""
        config = self._config
        m.submodules.slice = between = RegisterSlice(image_beat_layout(config))
        wiring.connect(m, wiring.flipped(self.beats), between.i)
        beats = between.o
        beat_q = struct_signal(image_beat_layout(config), reset_less=True)
        beat_valid, closing = Signal(), Signal()
        address = Signal(config.act_addr_width, reset_less=True)
        # A beat fills a part of the clusters' banks, or all of them, with `per_bank` rows each.
        per_bank, row_bits = beat_rows(config), 8 * config.lanes
        parts = config.clusters * per_bank // config.beat_rows
        part_bits, share_bits = exact_log2(parts), exact_log2(config.act_columns // per_bank)
        place = beats.payload.beat >> part_bits
        queues = [fifo.SyncFIFO(width=beat_layout(config).size, depth=_QUEUE_DEPTH) for _ in banks]
        addressed = [
            beat_valid & (beat_q.beat[:part_bits] == cluster * parts // config.clusters)
            for cluster in range(config.clusters)
        ]
        # A cycle old, with room for the beats that are under way by then.
        room = Signal(init=1)
        m.d.comb += beats.ready.eq(room & ~closing)
        m.d.sync += [
            room.eq(Cat(queue.r_level <= _QUEUE_DEPTH - 3 for queue in queues).all()),
            beat_valid.eq(beats.valid & beats.ready),
        ]
        with m.If(beats.ready):
            m.d.sync += [
                closing.eq(beats.valid & beats.payload.last),
                beat_q.eq(beats.payload),
                address.eq(self.input_base + (place >> share_bits)),
            ]
        first = beats.valid & beats.ready & (beats.payload.beat == 0)
        for context in range(config.contexts):
            # A cycle late: the beat is in the bank two cycles later at the earliest.
            m.d.sync += self.arriving[context].eq(first & (beats.payload.context == context))
        self._build_end(m, beat_q.context, closing, beat_valid, queues)
        for cluster, (bank, queue) in enumerate(zip(banks, queues, strict=True)):
            m.submodules[f"queue_{cluster}"] = queue
            share = struct_signal(beat_layout(config), name=f"share_{cluster}")
            m.d.comb += [
                queue.w_en.eq(addressed[cluster]),
                queue.w_data.eq(share),
                bank.beats.valid.eq(queue.r_rdy),
                bank.beats.payload.eq(queue.r_data),
                queue.r_en.eq(bank.beats.ready),
                share.address.eq(bank_address(config, beat_q.context, address)),
                share.share.eq((beat_q.beat >> part_bits)[:share_bits]),
                *(
                    share.rows.word_select(index, row_bits).eq(
                        beat_q.data.word_select(
                            cluster % (config.clusters // parts) + index * config.clusters, row_bits
                        )
                    )
                    for index in range(per_bank)
                ),
            ]
            self._build_arrived(m, cluster, bank, beat_q.context)

    def _build_end(
        self,
        m: Module,
        context: Value,
        closing: Signal,
        beat_valid: Signal,
        queues: list[fifo.SyncFIFO],
    ) -> None:
        """Report an image when its last beat is written; no other image comes before that."""
        written = closing & ~beat_valid & ~Cat(queue.r_rdy for queue in queues).any()
        with m.If(written):
            m.d.sync += closing.eq(0)
        for number in range(self._config.contexts):
            m.d.comb += self.image_ready[number].eq(written & (context == number))

    def _build_arrived(self, m: Module, cluster: int, bank: ActivationBank, owner: Value) -> None:
        """Count the words of each context's image that are complete in a bank.

        All beats in the queues belong to one image, whose context is the owner.
        """
        config = self._config
        share = bank.beats.payload
        last_share = share.share == config.act_columns // beat_rows(config) - 1
        # A cycle late: off the path from the rows that go first, and to the skippers' jobs.
        filled = Signal(name=f"filled_{cluster}")
        m.d.sync += filled.eq(bank.beats.valid & bank.beats.ready & last_share)
        for context in range(config.contexts):
            arrived = self.arrived[context][cluster]
            with m.If(self.arriving[context]):
                m.d.sync += arrived.eq(0)
            with m.Elif(filled & (owner == context)):
                m.d.sync += arrived.eq(arrived + 1)

    def _build_reads(self, m: Module, banks: list[ActivationBank]) -> None:
        """Connect the skippers, and let the drain and the result's reader take all banks."""
        config = self._config
        m.submodules.network = network = WordNetwork(config)
        cluster_bits, column_bits = exact_log2(config.clusters), exact_log2(config.act_columns)
        local = self.result_row >> cluster_bits
        address = Signal(config.act_addr_width, reset_less=True)
        result_address = Signal(config.act_addr_width)
        hold = Signal()
        place: Value = Cat(local[:column_bits], self.result_row[:cluster_bits])
        m.d.comb += [
            result_address.eq(self.result_base + (local >> column_bits)),
            self.result_granted.eq(~self.carried_read),
        ]
        m.d.sync += [
            hold.eq(self.result_read | self.carried_read),
            address.eq(bank_address(config, self.result_context, result_address)),
        ]
        with m.If(self.carried_read):
            m.d.sync += address.eq(bank_address(config, self.carried.context, self.carried.address))
        self._build_carried(m, banks)
        m.d.comb += [
            network.restart.eq(self.restart),
            network.hold.eq(hold),
            network.held_address.eq(address),
            self.granted.eq(network.granted),
            *(here.eq(ask) for here, ask in zip(network.asks, self.asks, strict=True)),
            *(word.eq(read) for word, read in zip(self.words, network.words, strict=True)),
        ]
        for stage in range(3 + ActivationBank.LATENCY):
            place_q = Signal(
                range(max(2, config.clusters * config.act_columns)),
                name=f"result_place_{stage}",
                reset_less=True,
            )
            m.d.sync += place_q.eq(place)
            place = place_q
        words = Signal(8 * config.act_word * config.clusters, reset_less=True)
        result_data = Signal(8 * config.lanes, reset_less=True)
        m.d.sync += [
            words.eq(Cat(bank.r_word for bank in banks)),
            result_data.eq(words.word_select(place, 8 * config.lanes)),
        ]
        m.d.comb += self.result_data.eq(result_data)
        for bank, r_address, r_word in zip(banks, network.r_address, network.r_word, strict=True):
            m.d.comb += [bank.r_address.eq(r_address), r_word.eq(bank.r_word)]

    def _build_carried(self, m: Module, banks: list[ActivationBank]) -> None:
        """Choose the drain's column of each bank's word."""
        config = self._config
        column: Value = self.carried.column
        for stage in range(self.CARRIED_LATENCY - 1):
            column_q = Signal(len(column), name=f"carried_column_{stage}", reset_less=True)
            m.d.sync += column_q.eq(column)
            column = column_q
        for rows, bank in zip(self.carried_rows, banks, strict=True):
            m.d.sync += Value.cast(rows).eq(bank.r_word.word_select(column, 8 * config.lanes))
