"""The activation memory of one cluster."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.memory import SyncMemory
from jpnet_spec.config import AcceleratorConfig

__all__ = ["ActivationBank", "beat_layout", "beat_rows"]


def beat_rows(config: AcceleratorConfig) -> int:
    """Return how many rows of a bus beat belong to one bank, if any do."""
    return max(1, config.beat_rows // config.clusters)


def beat_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One bank's share of a bus beat: word address, which share of the word, its rows."""
    shares = config.act_columns // beat_rows(config)
    return data.StructLayout(
        {
            "address": unsigned(config.act_addr_width),
            "share": unsigned(max(1, (shares - 1).bit_length())),
            "rows": unsigned(8 * config.lanes * beat_rows(config)),
        }
    )


class ActivationBank(wiring.Component):
    """All contexts' words, written by rows or by shares of bus beats, read as a whole.

    A word holds `act_word` activations. The memory is cut into columns as wide as one drained row.
    One row and one beat can be written in a cycle when they touch different columns; otherwise the
    row is written and the beat waits.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    row_valid, row_address, row_column, row_data : in
        A drained row; never waits.
    beats : in stream of `beat_layout`
        Image data.
    r_address : in
        Word to read; every cycle is a read.
    r_word : out, unsigned(8 * act_word)
        The word, `LATENCY` cycles later; activation 0 in the low byte.
    """

    LATENCY = 1

    row_valid: Signal
    row_address: Signal
    row_column: Signal
    row_data: Signal
    beats: stream.Interface
    r_address: Signal
    r_word: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "row_valid": In(1),
                "row_address": In(config.act_addr_width),
                "row_column": In(max(1, (config.act_columns - 1).bit_length())),
                "row_data": In(8 * config.lanes),
                "beats": In(stream.Signature(beat_layout(config))),
                "r_address": In(config.act_addr_width),
                "r_word": Out(8 * config.act_word),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        columns_per_beat = beat_rows(config)
        row_bits = 8 * config.lanes
        beat = self.beats.payload
        conflict = Signal()
        beat_write = Signal()
        m.d.comb += [
            conflict.eq(self.row_valid & (self.row_column // columns_per_beat == beat.share)),
            self.beats.ready.eq(~conflict),
            beat_write.eq(self.beats.valid & ~conflict),
        ]
        words = []
        for column in range(config.act_columns):
            part = SyncMemory(
                shape=row_bits, depth=config.act_depth * config.contexts, output_register=False
            )
            m.submodules[f"column_{column}"] = part
            row_hit = self.row_valid & (self.row_column == column)
            beat_hit = beat_write & (beat.share == column // columns_per_beat)
            place = column % columns_per_beat
            m.d.comb += [
                part.w_en.eq(row_hit | beat_hit),
                part.r_addr.eq(self.r_address),
                part.w_addr.eq(beat.address),
                part.w_data.eq(beat.rows.word_select(place, row_bits)),
            ]
            with m.If(row_hit):
                m.d.comb += [
                    part.w_addr.eq(self.row_address),
                    part.w_data.eq(self.row_data),
                ]
            words.append(part.r_data)
        m.d.comb += self.r_word.eq(Cat(words))
        return m
