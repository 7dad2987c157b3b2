"""Reads a program image, checks it and fills the memories."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.axi_reader import transfer_layout
from jpnet_hw.layouts import load_layout
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import HEADER_WORDS, HeaderWord, Memory
from jpnet_spec.instruction import FORMAT_VERSION, INSTRUCTION_WORDS
from jpnet_spec.registers import ID_VALUE

__all__ = ["ProgramLoader", "header_layout"]


def header_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Header words that outlast the load, as wide as their range."""
    words = range(config.act_depth * config.clusters + 1)
    return data.StructLayout(
        {
            "total_words": unsigned(32),
            "sections": unsigned(24),
            "instructions": range(config.program_depth + 1),
            "input_base": unsigned(config.act_addr_width),
            "input_words": words,
            "result_base": unsigned(config.act_addr_width),
            "result_words": words,
        }
    )


class ProgramLoader(wiring.Component):
    """Check the header, then pass every section's entries on, one 32-bit word per cycle.

    The header is checked in the order of its words: the first wrong one names the error. Regions
    and counts that do not fit are `ErrorCode.BAD_SECTION`. Entries reach the memories before the
    checksum of the body is known, so after any error their content is undefined. After an error
    nothing happens until a reset.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    start : in
        Pulse, while not busy: load the image at `base`.
    base : in, unsigned(axi_addr_width)
        Its address; a multiple of the beat.
    transfers : out, stream of `transfer_layout`
        To the bus.
    i : in, stream of unsigned(axi_data_width)
        From the bus.
    busy : out
        From the cycle after `start` until the body's checksum was right and all was read.
    error_valid, error : out
        Pulse: the image is refused.
    header : out, `header_layout`
        Valid after the load.
    load_valid, load : out, `load_layout`
        Entries for the memories.
    """

    start: Signal
    base: Signal
    transfers: stream.Interface
    i: stream.Interface
    busy: Signal
    error_valid: Signal
    error: Signal
    header: data.View
    load_valid: Signal
    load: data.View

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "base": In(config.axi_addr_width),
                "transfers": Out(stream.Signature(transfer_layout(config))),
                "i": In(stream.Signature(unsigned(config.axi_data_width))),
                "busy": Out(1),
                "error_valid": Out(1),
                "error": Out(ErrorCode),
                "header": Out(header_layout(config)),
                "load_valid": Out(1),
                "load": Out(load_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        take = Signal()
        word, word_valid = self._build_words(m, take)
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=32).create()
        left = Signal(32, reset_less=True)
        m.d.comb += [crc.data.eq(word), crc.valid.eq(word_valid & take), crc.start.eq(self.start)]
        m.d.sync += [self.error_valid.eq(0), self.load_valid.eq(0)]
        with m.FSM(name="loader"):
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += self.busy.eq(1)
                    self._request(m, self.base, HEADER_WORDS)
                    m.next = "HEADER"
            misfit = self._build_header(m, word, word_valid, take, crc.crc)
            with m.State("CHECK"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += left.eq(self.header.total_words - HEADER_WORDS)
                m.next = "REQUEST"
            with m.State("REQUEST"):
                with m.If(misfit):
                    self._fail(m, ErrorCode.BAD_SECTION)
                with m.Elif(~self.transfers.valid):
                    header_bytes = 4 * HEADER_WORDS
                    self._request(m, self.base + header_bytes, left)
                    m.next = "NEXT"
            self._build_sections(m, word, word_valid, take, left)
            self._build_end(m, word, word_valid, take, left, crc.crc)
            with m.State("FAILED"):
                pass
        with m.If(word_valid & take):
            m.d.sync += left.eq(left - 1)
        with m.If(self.transfers.valid & self.transfers.ready):
            m.d.sync += self.transfers.valid.eq(0)
        return m

    def _fail(self, m: Module, code: ErrorCode) -> None:
        m.d.sync += [self.error_valid.eq(1), self.error.eq(code)]
        m.next = "FAILED"

    def _request(self, m: Module, address: Signal, words: Signal | int) -> None:
        shift = exact_log2(self._config.beat_bytes // 4)
        transfer = self.transfers.payload
        m.d.sync += [
            self.transfers.valid.eq(1),
            transfer.address.eq(address),
            transfer.beats.eq(words >> shift),
        ]

    def _build_words(self, m: Module, take: Signal) -> tuple[Signal, Signal]:
        """Cut beats into words; return the word and whether there is one."""
        config = self._config
        beat_words = config.beat_bytes // 4
        beat = Signal(config.axi_data_width, reset_less=True)
        count = Signal(range(beat_words + 1))
        m.d.comb += self.i.ready.eq((count == 0) | ((count == 1) & take))
        with m.If(self.i.ready):
            m.d.sync += [beat.eq(self.i.payload), count.eq(Mux(self.i.valid, beat_words, 0))]
        with m.Elif(take):
            m.d.sync += [beat.eq(beat >> 32), count.eq(count - 1)]
        return beat[:32], count != 0

    def _build_header(
        self, m: Module, word: Signal, word_valid: Signal, take: Signal, crc: Signal
    ) -> Signal:
        """Check and keep the header words; return whether they do not fit."""
        config = self._config
        index = Signal(range(HEADER_WORDS))
        wide = Signal()
        header = self.header
        fixed = {
            HeaderWord.MAGIC: (ID_VALUE, ErrorCode.BAD_MAGIC),
            HeaderWord.VERSION: (FORMAT_VERSION, ErrorCode.BAD_VERSION),
            HeaderWord.CONFIG: (config.config_hash, ErrorCode.BAD_CONFIG),
        }
        with m.State("HEADER"):
            m.d.comb += take.eq(1)
            with m.If(word_valid):
                m.d.sync += index.eq(index + 1)
                with m.Switch(index):
                    for place, (value, code) in fixed.items():
                        with m.Case(place):
                            m.d.sync += wide.eq(0)
                            with m.If(word != value):
                                self._fail(m, code)
                    for name in header_layout(config).members:
                        with m.Case(HeaderWord[name.upper()]):
                            width = len(header[name])
                            m.d.sync += [
                                header[name].eq(word),
                                wide.eq(wide | word[width:].any()),
                            ]
                    with m.Case(HeaderWord.CHECKSUM):
                        m.next = "CHECK"
                        with m.If(word != crc):
                            self._fail(m, ErrorCode.BAD_CRC)
        return self._build_misfit(m, wide)

    def _build_misfit(self, m: Module, wide: Signal) -> Signal:
        """Return, one cycle late, whether counts or regions of the header do not fit."""
        config = self._config
        header = self.header
        beat_words = config.beat_bytes // 4
        shift = exact_log2(config.clusters)
        misfit = Signal()

        def outside(base: Signal, words: Signal) -> Signal:
            return (base + ((words + config.clusters - 1) >> shift)) > config.act_depth

        m.d.sync += misfit.eq(
            wide
            | (header.total_words <= HEADER_WORDS)
            | (header.total_words & (beat_words - 1)).any()
            | (header.instructions == 0)
            | (header.instructions > config.program_depth)
            | (header.input_words == 0)
            | (header.result_words == 0)
            | outside(header.input_base, header.input_words)
            | outside(header.result_base, header.result_words)
        )
        return misfit

    def _build_sections(
        self, m: Module, word: Signal, word_valid: Signal, take: Signal, left: Signal
    ) -> None:
        """Read section headers and entries; the last word of the body must come after them."""
        config = self._config
        load = self.load
        sections = Signal.like(self.header.sections)
        entries = Signal(16, reset_less=True)
        address = Signal(16, reset_less=True)
        memory_bad = Signal()
        place_bad = Signal()
        part = Signal(2)
        depths = {
            Memory.WEIGHT: config.weight_depth,
            Memory.POINTER: config.pointer_depth,
            Memory.PARAM: config.param_depth,
            Memory.INSTRUCTION: config.program_depth * INSTRUCTION_WORDS,
        }
        with m.State("NEXT"):
            m.d.sync += [sections.eq(self.header.sections), part.eq(0)]
            m.next = "SECTION"
            with m.If(self.header.sections == 0):
                m.next = "CHECKSUM"
        with m.State("SECTION"):
            m.d.comb += take.eq(1)
            m.d.sync += [
                load.memory.eq(word[0:2]),
                load.lane.eq(word[8:16]),
                load.cluster.eq(word[16:24]),
                load.group.eq(word[24:31]),
                load.all_groups.eq(word[31]),
                memory_bad.eq(word[2:8].any()),
                place_bad.eq(
                    (word[8:16] >= config.lanes)
                    | (word[16:24] >= config.clusters)
                    | ((word[24:31] >= config.groups) & ~word[31])
                ),
            ]
            with m.If(word_valid):
                m.d.sync += sections.eq(sections - 1)
                m.next = "PLACE"
                with m.If(left == 1):
                    self._fail(m, ErrorCode.BAD_SECTION)
        with m.State("PLACE"):
            m.d.comb += take.eq(1)
            m.d.sync += [address.eq(word[:16]), entries.eq(word[16:])]
            with m.If(word_valid):
                m.next = "VERIFY"
                with m.If(left == 1):
                    self._fail(m, ErrorCode.BAD_SECTION)
        with m.State("VERIFY"):
            end = Signal(17)
            misfit = Signal()
            m.d.comb += end.eq(address + entries)
            with m.Switch(load.memory):
                for memory, depth in depths.items():
                    with m.Case(memory):
                        m.d.comb += misfit.eq(end > depth)
            m.next = "ENTRIES"
            with m.If(entries == 0):
                m.next = "SECTION"
                with m.If(sections == 0):
                    m.next = "CHECKSUM"
            with m.If(memory_bad | place_bad | misfit):
                self._fail(m, ErrorCode.BAD_SECTION)
        with m.State("ENTRIES"):
            m.d.comb += take.eq(1)
            with m.If(word_valid):
                m.d.sync += part.eq(part + 1)
                with m.Switch(part):
                    for index in range(3):
                        with m.Case(index):
                            m.d.sync += load.data[32 * index : 32 * index + 32].eq(word)
                with m.If((load.memory != Memory.PARAM) | (part == 2)):
                    m.d.sync += [
                        part.eq(0),
                        self.load_valid.eq(1),
                        load.address.eq(address),
                        address.eq(address + 1),
                        entries.eq(entries - 1),
                    ]
                    with m.If(entries == 1):
                        m.next = "SECTION"
                        with m.If(sections == 0):
                            m.next = "CHECKSUM"
                with m.If(left == 1):
                    self._fail(m, ErrorCode.BAD_SECTION)

    def _build_end(
        self, m: Module, word: Signal, word_valid: Signal, take: Signal, left: Signal, crc: Signal
    ) -> None:
        with m.State("CHECKSUM"):
            m.d.comb += take.eq(1)
            with m.If(word_valid):
                m.next = "PADDING"
                with m.If(word != crc):
                    self._fail(m, ErrorCode.BAD_CRC)
        with m.State("PADDING"):
            m.d.comb += take.eq(left != 0)
            with m.If(left == 0):
                m.d.sync += self.busy.eq(0)
                m.next = "IDLE"
