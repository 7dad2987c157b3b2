"""Reads a program image, checks it and fills the memories."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.burst_cutter import transfer_layout
from jpnet_hw.layouts import load_layout, struct_signal
from jpnet_hw.skid_buffer import SkidBuffer
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import BLOCK_HEADER_WORDS, HEADER_WORDS, SLOTS, HeaderWord, Memory
from jpnet_spec.instruction import FORMAT_VERSION, INSTRUCTION_WORDS
from jpnet_spec.registers import ID_VALUE

__all__ = ["ProgramLoader", "header_layout"]


def header_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Header words that outlast the load, as wide as their range."""
    words = config.act_depth * config.contexts * config.clusters
    rows = range(words * config.act_columns + 1)
    return data.StructLayout(
        {
            "total_words": unsigned(32),
            "sections": unsigned(24),
            "instructions": range(config.program_depth + 2),
            "input_base": unsigned(config.act_addr_width),
            "input_rows": rows,
            "result_base": unsigned(config.act_addr_width),
            "result_rows": rows,
            "blocks": range(config.program_depth + 2),
            "block_words": unsigned(32),
            "in_flight": range(config.contexts + 1),
        }
    )


class _Words:
    """The image as 32-bit words: the current one, whether it is there, and its use.

    Of the program or block, `left` words are not taken; `one_left` and `none_left` tell so from
    registers.
    """

    def __init__(self, word: Value, valid: Value, take: Signal) -> None:
        self.word = word
        self.valid = valid
        self.take = take
        self.left = Signal(32, reset_less=True)
        self.one_left = Signal(reset_less=True)
        self.none_left = Signal(reset_less=True)

    def expect(self, m: Module, count: Value) -> None:
        """Set how many words come, at least one."""
        m.d.sync += [self.left.eq(count), self.one_left.eq(count == 1), self.none_left.eq(0)]

    def count(self, m: Module) -> None:
        """One of them was taken."""
        m.d.sync += [
            self.left.eq(self.left - 1),
            self.one_left.eq(self.left == 2),
            self.none_left.eq(self.one_left),
        ]


class ProgramLoader(wiring.Component):
    """Check the header, then pass every section's entries on, one 32-bit word per cycle.

    The header is checked in the order of its words: the first wrong one names the error. Regions
    and counts that do not fit are `ErrorCode.BAD_SECTION`. Entries reach the memories before the
    checksum of the body is known, so after any error their content is undefined. After an error
    nothing happens until a reset.

    After a program with a stream, whatever words come are its blocks, one after the other: lists
    for the given slot of the lanes' memories, with a checksum of their own.

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
    opened : out
        Pulse: the program is loaded.
    slot : in
        Slot of the block that comes.
    block_words : out
        Words of the block after the last one loaded; of the first one with `opened`.
    block_done : out
        Pulse: a block was read and its checksum was right.
    error_valid, error : out
        Pulse: the image or block is refused.
    header : out, `header_layout`
        Valid after the load.
    act_limit, acc_limit : out
        Words and accumulator rows of an image, with as many in flight as the header tells.
    load_valid, load : out, `load_layout`
        Entries for the memories.
    """

    start: Signal
    base: Signal
    transfers: stream.Interface
    i: stream.Interface
    busy: Signal
    opened: Signal
    slot: Signal
    block_words: Signal
    block_done: Signal
    error_valid: Signal
    error: Signal
    header: data.View
    act_limit: Signal
    acc_limit: Signal
    load_valid: Signal
    load: data.View

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self._wide = Signal(name="wide")
        self._in_block = Signal(name="in_block")
        self._following = Signal(32, name="following", reset_less=True)
        self._load = struct_signal(load_layout(config), name="entry", reset_less=True)
        super().__init__(
            {
                "start": In(1),
                "base": In(config.axi_addr_width),
                "transfers": Out(stream.Signature(transfer_layout(config))),
                "i": In(stream.Signature(unsigned(config.axi_data_width))),
                "busy": Out(1),
                "opened": Out(1),
                "slot": In(1),
                "block_words": Out(32),
                "block_done": Out(1),
                "error_valid": Out(1),
                "error": Out(ErrorCode),
                "header": Out(header_layout(config)),
                "act_limit": Out(config.act_addr_width + 1),
                "acc_limit": Out(config.acc_row_width + 1),
                "load_valid": Out(1),
                "load": Out(load_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = self._build_words(m)
        taken = words.valid & words.take
        crc_start, wrong = self._build_checksum(m, words.word, taken)
        checking = Signal()
        misfit = self._build_misfit(m)
        self._build_limits(m)
        m.d.comb += self.load.eq(self._load)
        m.d.sync += [
            checking.eq(0),
            self.error_valid.eq(0),
            self.load_valid.eq(0),
            self.opened.eq(0),
            self.block_done.eq(0),
        ]
        with m.FSM(name="loader"):
            with m.State("IDLE"):
                self._build_start(m)
            with m.State("HEADER"):
                m.d.comb += words.take.eq(1)
                with m.If(words.valid):
                    self._build_header(m, words)
            with m.State("CHECK"):
                m.d.comb += crc_start.eq(1)
                words.expect(m, self.header.total_words - HEADER_WORDS)
                m.next = "REQUEST"
                with m.If(wrong):
                    self._fail(m, ErrorCode.BAD_CRC)
            with m.State("REQUEST"):
                with m.If(misfit):
                    self._fail(m, ErrorCode.BAD_SECTION)
                with m.Elif(~self.transfers.valid):
                    self._request(m, self.base + 4 * HEADER_WORDS, words.left)
                    m.next = "FIRST"
            self._build_sections(m, words)
            with m.State("CHECKSUM"):
                m.d.comb += words.take.eq(1)
                with m.If(words.valid):
                    m.d.sync += checking.eq(1)
                    m.next = "PADDING"
            with m.State("PADDING"):
                m.d.comb += words.take.eq(~words.none_left)
                self._build_end(m, wrong=checking & wrong, ended=words.none_left)
            with m.State("BLOCK"):
                m.d.comb += crc_start.eq(1)
                words.expect(m, self.block_words)
                with m.If(words.valid):
                    m.next = "FOLLOWING"
                self._build_start(m)
            with m.State("FAILED"):
                pass
        with m.If(taken):
            words.count(m)
        with m.If(self.transfers.valid & self.transfers.ready):
            m.d.sync += self.transfers.valid.eq(0)
        return m

    def _build_checksum(self, m: Module, word: Value, taken: Value) -> tuple[Signal, Value]:
        """Checksum the words that are taken, each in the cycle after that.

        Returns
        -------
        What begins a checksum, whose first word is taken in a later cycle; and whether the word
        that was taken in the cycle before is not the checksum of those before it.
        """
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=32).create()
        start = Signal()
        taken_q, start_q = Signal(), Signal()
        word_q = Signal(32, reset_less=True)
        m.d.sync += [taken_q.eq(taken), word_q.eq(word), start_q.eq(start)]
        m.d.comb += [
            start.eq(self.start),
            crc.data.eq(word_q),
            crc.valid.eq(taken_q),
            crc.start.eq(start_q),
        ]
        return start, word_q != crc.crc

    def _build_start(self, m: Module) -> None:
        """Begin a load."""
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), self._in_block.eq(0)]
            self._request(m, self.base, HEADER_WORDS)
            m.next = "HEADER"

    def _build_end(self, m: Module, *, wrong: Value, ended: Value) -> None:
        """Fail, or end a program or a block; blocks follow a program that has some."""
        with m.If(wrong):
            self._fail(m, ErrorCode.BAD_CRC)
        with m.Elif(ended):
            m.d.sync += [
                self.busy.eq(0),
                self._in_block.eq(1),
                self.opened.eq(~self._in_block),
                self.block_done.eq(self._in_block),
                self.block_words.eq(Mux(self._in_block, self._following, self.header.block_words)),
            ]
            m.next = "IDLE"
            with m.If(self.header.blocks != 0):
                m.next = "BLOCK"

    def _fail(self, m: Module, code: ErrorCode) -> None:
        m.d.sync += [self.error_valid.eq(1), self.error.eq(code)]
        m.next = "FAILED"

    def _request(self, m: Module, address: Value, words: Value | int) -> None:
        shift = exact_log2(self._config.beat_bytes // 4)
        transfer = self.transfers.payload
        m.d.sync += [
            self.transfers.valid.eq(1),
            transfer.address.eq(address),
            transfer.beats.eq(words >> shift),
        ]

    def _build_words(self, m: Module) -> _Words:
        """Cut beats into words."""
        config = self._config
        beat_words = config.beat_bytes // 4
        beat = Signal(config.axi_data_width, reset_less=True)
        count = Signal(range(beat_words + 1))
        take = Signal()
        # The bus does not see when the loader, whose choice of words is long, takes a beat.
        m.submodules.skid = skid = SkidBuffer(unsigned(config.axi_data_width))
        wiring.connect(m, wiring.flipped(self.i), skid.i)
        m.d.comb += skid.o.ready.eq((count == 0) | ((count == 1) & take))
        with m.If(skid.o.ready):
            m.d.sync += [beat.eq(skid.o.payload), count.eq(Mux(skid.o.valid, beat_words, 0))]
        with m.Elif(take):
            m.d.sync += [beat.eq(beat >> 32), count.eq(count - 1)]
        return _Words(beat[:32], count != 0, take)

    def _build_header(self, m: Module, words: _Words) -> None:
        """Check and keep a header word."""
        index = Signal(range(HEADER_WORDS))
        fixed = {
            HeaderWord.MAGIC: (ID_VALUE, ErrorCode.BAD_MAGIC),
            HeaderWord.VERSION: (FORMAT_VERSION, ErrorCode.BAD_VERSION),
            HeaderWord.CONFIG: (self._config.config_hash, ErrorCode.BAD_CONFIG),
        }
        m.d.sync += index.eq(index + 1)
        with m.Switch(index):
            for place, (value, code) in fixed.items():
                with m.Case(place):
                    m.d.sync += self._wide.eq(0)
                    with m.If(words.word != value):
                        self._fail(m, code)
            for name, field in self.header.shape().members.items():
                with m.Case(HeaderWord[name.upper()]):
                    width = Shape.cast(field).width
                    m.d.sync += [
                        self.header[name].eq(words.word),
                        self._wide.eq(self._wide | words.word[width:].any()),
                    ]
            with m.Case(HeaderWord.CHECKSUM):
                m.next = "CHECK"

    def _build_misfit(self, m: Module) -> Signal:
        """Return, one cycle late, whether counts or regions of the header do not fit."""
        config = self._config
        header = self.header
        beat_words = config.beat_bytes // 4
        shift = exact_log2(config.clusters * config.act_columns)
        misfit, wrong_blocks = Signal(), Signal()

        def outside(base: Value, rows: Value) -> Value:
            return (base + ((rows + (1 << shift) - 1) >> shift)) > self.act_limit

        m.d.comb += wrong_blocks.eq(
            (header.blocks % SLOTS).any()
            | (header.blocks > config.program_depth)
            | self._wrong_length(header.block_words)
        )
        m.d.sync += misfit.eq(
            self._wide
            | ((header.blocks != 0) & wrong_blocks)
            | (header.total_words <= HEADER_WORDS)
            | (header.total_words & (beat_words - 1)).any()
            | ~Cat(header.in_flight == count for count in self._counts()).any()
            | (header.instructions == 0)
            | (header.instructions > config.program_depth)
            | (header.input_rows == 0)
            | (header.result_rows == 0)
            | outside(header.input_base, header.input_rows)
            | outside(header.result_base, header.result_rows)
        )
        return misfit

    def _counts(self) -> list[int]:
        """Return the possible numbers of images in flight."""
        return [1 << bit for bit in range(self._config.contexts.bit_length())]

    def _build_limits(self, m: Module) -> None:
        """Divide the memories that the contexts share among the images in flight."""
        config = self._config
        with m.Switch(self.header.in_flight):
            for count in self._counts():
                with m.Case(count):
                    m.d.comb += [
                        self.act_limit.eq(config.act_depth * config.contexts // count),
                        self.acc_limit.eq(config.acc_depth * config.contexts // count),
                    ]

    def _wrong_length(self, words: Value) -> Value:
        """Return whether a block cannot have that many words: a header, a checksum, whole beats."""
        beat_words = self._config.beat_bytes // 4
        return (words & (beat_words - 1)).any() | (words <= BLOCK_HEADER_WORDS)

    def _build_sections(self, m: Module, words: _Words) -> None:
        """Read section headers and entries; the last word of the body must come after them."""
        sections = Signal.like(self.header.sections)
        entries = Signal(16, reset_less=True)
        address = Signal(16, reset_less=True)
        place_bad = Signal()

        def next_section() -> None:
            m.next = "SECTION"
            with m.If(sections == 0):
                m.next = "CHECKSUM"

        self._build_block_header(m, words, sections)
        with m.State("FIRST"):
            m.d.sync += sections.eq(self.header.sections)
            m.next = "SECTION"
            with m.If(self.header.sections == 0):
                m.next = "CHECKSUM"
        with m.State("SECTION"):
            m.d.comb += words.take.eq(1)
            self._build_place(m, words.word, place_bad)
            with m.If(words.valid):
                m.d.sync += sections.eq(sections - 1)
                m.next = "RANGE"
                self._refuse_end(m, words)
        with m.State("RANGE"):
            m.d.comb += words.take.eq(1)
            m.d.sync += [address.eq(words.word[:16]), entries.eq(words.word[16:])]
            with m.If(words.valid):
                m.next = "VERIFY"
                self._refuse_end(m, words)
        with m.State("VERIFY"):
            m.next = "ENTRIES"
            with m.If(entries == 0):
                next_section()
            with m.If(place_bad | self._build_range_bad(m, address, address + entries)):
                self._fail(m, ErrorCode.BAD_SECTION)
        with m.State("ENTRIES"):
            m.d.comb += words.take.eq(1)
            with m.If(words.valid):
                with m.If(self._build_entry(m, words.word)):
                    m.d.sync += [
                        self.load_valid.eq(1),
                        self._load.address.eq(address),
                        address.eq(address + 1),
                        entries.eq(entries - 1),
                    ]
                    with m.If(entries == 1):
                        next_section()
                self._refuse_end(m, words)

    def _build_block_header(self, m: Module, words: _Words, sections: Signal) -> None:
        """Read the length of the block after this one, and the number of sections."""
        with m.State("FOLLOWING"):
            m.d.comb += words.take.eq(1)
            m.d.sync += self._following.eq(words.word)
            m.next = "SECTIONS"
            with m.If(self._wrong_length(words.word)):
                self._fail(m, ErrorCode.BAD_SECTION)
        with m.State("SECTIONS"):
            m.d.comb += words.take.eq(1)
            m.d.sync += sections.eq(words.word)
            with m.If(words.valid):
                m.next = "SECTION"
                with m.If(words.word == 0):
                    m.next = "CHECKSUM"

    def _refuse_end(self, m: Module, words: _Words) -> None:
        with m.If(words.one_left):
            self._fail(m, ErrorCode.BAD_SECTION)

    def _build_place(self, m: Module, word: Value, bad: Signal) -> None:
        """Keep whose memory a section fills, and whether there is none such."""
        config, load = self._config, self._load
        m.d.sync += [
            load.memory.eq(word[0:2]),
            load.lane.eq(word[8:16]),
            load.cluster.eq(word[16:23]),
            load.all_clusters.eq(word[23]),
            load.group.eq(word[24:31]),
            load.all_groups.eq(word[31]),
            bad.eq(
                word[2:8].any()
                | (word[8:16] >= config.lanes)
                | ((word[16:23] >= config.clusters) & ~word[23])
                | ((word[24:31] >= config.groups) & ~word[31])
            ),
        ]

    def _build_range_bad(self, m: Module, address: Value, end: Value) -> Signal:
        """Return whether a section lies outside its memory, or a block's outside its slot."""
        config = self._config
        bad = Signal()
        depths = {
            Memory.WEIGHT: config.weight_depth,
            Memory.POINTER: config.pointer_depth,
            Memory.PARAM: config.param_depth,
            Memory.INSTRUCTION: config.program_depth * INSTRUCTION_WORDS,
        }
        with m.Switch(self._load.memory):
            for memory, depth in depths.items():
                with m.Case(memory):
                    slot = Mux(self.slot, end > depth, end > depth // SLOTS)
                    before = self.slot & (address < depth // SLOTS)
                    streamable = memory in (Memory.WEIGHT, Memory.POINTER)
                    in_block = (slot | before) if streamable else Const(1)
                    m.d.comb += bad.eq(Mux(self._in_block, in_block, end > depth))
        return bad

    def _build_entry(self, m: Module, word: Value) -> Value:
        """Put a word into its place in the entry; return whether it is the entry's last."""
        part = Signal(2)
        last: Value = (self._load.memory != Memory.PARAM) | (part == 2)
        m.d.sync += part.eq(Mux(last, 0, part + 1))
        with m.Switch(part):
            for index in range(3):
                with m.Case(index):
                    m.d.sync += self._load.data[32 * index : 32 * index + 32].eq(word)
        return last
