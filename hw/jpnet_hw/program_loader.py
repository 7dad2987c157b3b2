"""Reads a program image, checks it and fills the memories."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.beat_units import BeatUnits
from jpnet_hw.burst_cutter import transfer_layout
from jpnet_hw.layouts import load_layout, struct_signal
from jpnet_hw.list_decoder import ListDecoder
from jpnet_hw.unit_checksum import UnitChecksum
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import (
    BLOCK_HEADER_WORDS,
    HEADER_WORDS,
    SLOTS,
    UNIT_WORDS,
    HeaderWord,
    Memory,
    section_lanes,
    whole_units,
)
from jpnet_spec.instruction import FORMAT_VERSION, INSTRUCTION_WORDS
from jpnet_spec.packed_lists import MOST_FIELD_BITS, ListPacking
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


class _Units:
    """The image as units of two words: the current ones, whether they are there, and their use.

    Of the program or block, `left` units are not taken; `one_left` and `none_left` tell so from
    registers.
    """

    def __init__(self, units: stream.Interface) -> None:
        self.all = units.payload
        self.low, self.high = self.all[:32], self.all[32:]
        self.valid = units.valid
        self.take = units.ready
        self.left = Signal(32, reset_less=True)
        self.one_left = Signal(reset_less=True)
        self.none_left = Signal(reset_less=True)

    def expect(self, m: Module, words: Value) -> None:
        """Set how many words come, at least one unit."""
        count = words >> exact_log2(UNIT_WORDS)
        m.d.sync += [self.left.eq(count), self.one_left.eq(count == 1), self.none_left.eq(0)]

    def count(self, m: Module) -> None:
        """One of them was taken."""
        m.d.sync += [
            self.left.eq(self.left - 1),
            self.one_left.eq(self.left == 2),
            self.none_left.eq(self.one_left),
        ]


class ProgramLoader(wiring.Component):
    """Check the header, then pass every section's entries on, a unit of two words per cycle.

    The header is checked in the order of its words: the first wrong one names the error. Regions
    and counts that do not fit are `ErrorCode.BAD_SECTION`. Entries reach the memories before their
    section and the checksum of the body are checked, so after any error their content is undefined.
    After an error nothing happens until a reset.

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
        self._refused = Signal(name="refused")
        self._following = Signal(32, name="following", reset_less=True)
        self._packing = Signal(2, name="packing", reset_less=True)
        self._begins = Signal(name="begins", reset_less=True)
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
        units = self._build_units(m)
        taken = units.valid & units.take
        crc_start, wrong = self._build_checksum(m, units, taken)
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
                m.d.comb += units.take.eq(1)
                with m.If(units.valid):
                    self._build_header(m, units)
            with m.State("CHECK"):
                m.d.comb += crc_start.eq(1)
                units.expect(m, self.header.total_words - HEADER_WORDS)
                m.next = "REQUEST"
                with m.If(wrong):
                    self._fail(m, ErrorCode.BAD_CRC)
            with m.State("REQUEST"):
                with m.If(misfit):
                    self._fail(m, ErrorCode.BAD_SECTION)
                with m.Elif(~self.transfers.valid):
                    self._request(m, self.base + 4 * HEADER_WORDS, units.left)
                    m.next = "FIRST"
            self._build_sections(m, units)
            with m.State("CHECKSUM"):
                m.d.comb += units.take.eq(1)
                with m.If(units.valid):
                    m.d.sync += checking.eq(1)
                    m.next = "PADDING"
                self._refuse_section(m)
            with m.State("PADDING"):
                m.d.comb += units.take.eq(~units.none_left)
                self._build_end(m, wrong=checking & wrong, ended=units.none_left)
            with m.State("BLOCK"):
                m.d.comb += crc_start.eq(1)
                units.expect(m, self.block_words)
                with m.If(units.valid):
                    m.next = "FOLLOWING"
                self._build_start(m)
            with m.State("FAILED"):
                pass
        with m.If(taken):
            units.count(m)
        with m.If(self.transfers.valid & self.transfers.ready):
            m.d.sync += self.transfers.valid.eq(0)
        return m

    def _build_checksum(self, m: Module, units: _Units, taken: Value) -> tuple[Signal, Value]:
        """Checksum the units that are taken.

        Returns
        -------
        What begins a checksum, whose first unit is taken in a later cycle; and whether the lower
        word of the unit that was taken in the cycle before is not the checksum of those before it.
        """
        m.submodules.crc = crc = UnitChecksum()
        start = Signal()
        word_q = Signal(32, reset_less=True)
        m.d.sync += word_q.eq(units.low)
        m.d.comb += [
            start.eq(self.start),
            crc.start.eq(start),
            crc.valid.eq(taken),
            crc.data.eq(units.all),
        ]
        return start, word_q != crc.crc

    def _build_start(self, m: Module) -> None:
        """Begin a load."""
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), self._in_block.eq(0)]
            self._request(m, self.base, HEADER_WORDS // UNIT_WORDS)
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

    def _request(self, m: Module, address: Value, units: Value | int) -> None:
        words_shift = exact_log2(self._config.beat_bytes // 4)
        transfer = self.transfers.payload
        m.d.sync += [
            self.transfers.valid.eq(1),
            transfer.address.eq(address),
            transfer.beats.eq((units << exact_log2(UNIT_WORDS)) >> words_shift),
        ]

    def _build_units(self, m: Module) -> _Units:
        """Cut beats into units."""
        m.submodules.cutter = cutter = BeatUnits(self._config)
        wiring.connect(m, wiring.flipped(self.i), cutter.i)
        return _Units(cutter.o)

    def _build_header(self, m: Module, units: _Units) -> None:
        """Check and keep two header words."""
        index = Signal(range(HEADER_WORDS // UNIT_WORDS))
        m.d.sync += index.eq(index + 1)
        with m.Switch(index):
            for number in range(HEADER_WORDS // UNIT_WORDS):
                with m.Case(number):
                    self._build_header_words(
                        m, {UNIT_WORDS * number: units.low, UNIT_WORDS * number + 1: units.high}
                    )

    def _build_header_words(self, m: Module, words: dict[int, Value]) -> None:
        """Check and keep some header words; the first wrong one of them names the error."""
        fixed = {
            HeaderWord.MAGIC: (ID_VALUE, ErrorCode.BAD_MAGIC),
            HeaderWord.VERSION: (FORMAT_VERSION, ErrorCode.BAD_VERSION),
            HeaderWord.CONFIG: (self._config.config_hash, ErrorCode.BAD_CONFIG),
        }
        wide: Value = Const(0) if HeaderWord.MAGIC in words else self._wide
        for name, field in self.header.shape().members.items():
            if HeaderWord[name.upper()] in words:
                word = words[HeaderWord[name.upper()]]
                m.d.sync += self.header[name].eq(word)
                wide |= word[Shape.cast(field).width :].any()
        m.d.sync += self._wide.eq(wide)
        for place, (value, code) in reversed(fixed.items()):
            if place in words:
                with m.If(words[place] != value):
                    self._fail(m, code)
        if HeaderWord.CHECKSUM in words:
            m.next = "CHECK"

    def _build_misfit(self, m: Module) -> Signal:
        """Return, one cycle late, whether counts or regions of the header do not fit."""
        config = self._config
        header = self.header
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
            | (header.total_words & (whole_units(config) - 1)).any()
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
        """Divide the memories that the contexts share among the images in flight.

        Their number is not in the header's last unit, so the limits are there for its check.
        """
        config = self._config
        with m.Switch(self.header.in_flight):
            for count in self._counts():
                with m.Case(count):
                    m.d.sync += [
                        self.act_limit.eq(config.act_depth * config.contexts // count),
                        self.acc_limit.eq(config.acc_depth * config.contexts // count),
                    ]

    def _wrong_length(self, words: Value) -> Value:
        """Return whether a block cannot have that many words: a header, a checksum, whole units."""
        multiple = whole_units(self._config)
        return (words & (multiple - 1)).any() | (words <= BLOCK_HEADER_WORDS)

    def _build_sections(self, m: Module, units: _Units) -> None:
        """Read section headers and entries; the last unit of the body must come after them."""
        sections = Signal.like(self.header.sections)
        entries = Signal(16, reset_less=True)
        address = Signal(16, reset_less=True)
        place_bad, begun = Signal(), Signal()
        m.d.sync += [begun.eq(0), self._refused.eq(0)]
        self._build_block_header(m, units, sections)
        with m.State("FIRST"):
            m.d.sync += sections.eq(self.header.sections)
            m.next = "SECTION"
            with m.If(self.header.sections == 0):
                m.next = "CHECKSUM"
        with m.State("SECTION"):
            m.d.comb += units.take.eq(1)
            self._build_place(m, units.low, place_bad)
            m.d.sync += [address.eq(units.high[:16]), entries.eq(units.high[16:])]
            with m.If(units.valid):
                m.d.sync += [sections.eq(sections - 1), begun.eq(1)]
                m.next = "ENTRIES"
                if self._config.list_decoder:
                    m.d.sync += [self._packing.eq(units.low[3:5]), self._begins.eq(units.low[5])]
                    with m.If(units.low[3:5] != ListPacking.NONE):
                        m.next = "PACKING"
                self._refuse_end(m, units)
            self._refuse_section(m)
        if self._config.list_decoder:
            self._build_packed(m, units, (address, entries, sections), begun & place_bad)
        with m.State("ENTRIES"):
            m.d.comb += units.take.eq(1)
            with m.If(units.valid):
                with m.If(self._build_entry(m, units)):
                    m.d.sync += [
                        self.load_valid.eq(1),
                        self._load.address.eq(address),
                        address.eq(address + 1),
                        entries.eq(entries - 1),
                    ]
                    with m.If(entries == 1):
                        m.next = "SECTION"
                        with m.If(sections == 0):
                            m.next = "CHECKSUM"
                self._refuse_end(m, units)
            # While the first entry comes, so that the check costs no cycle.
            range_bad = self._build_range_bad(m, address, address + entries)
            m.d.sync += self._refused.eq(begun & (place_bad | range_bad | (entries == 0)))
            self._refuse_section(m)

    def _build_packed(
        self,
        m: Module,
        units: _Units,
        section: tuple[Signal, Signal, Signal],
        misplaced: Value,
    ) -> None:
        """Read packed entries: what their lists have in common, then their units."""
        address, entries, sections = section
        m.submodules.decoder = decoder = ListDecoder(self._config)
        shape = decoder.shape
        rows, columns, code = units.low[:16], units.low[16:24], units.low[24:]
        m.d.comb += [
            shape.runs.eq(self._packing == ListPacking.RUN_LENGTH),
            shape.rows.eq(rows),
            shape.columns.eq(columns),
            shape.code.eq(code),
            shape.begins.eq(self._begins),
            decoder.units.eq(units.high),
            decoder.entries.eq(entries),
            decoder.i.payload.eq(units.all),
        ]
        wrong = (
            (rows == 0)
            | (rows > self._config.acc_depth)
            | (columns == 0)
            | (code > MOST_FIELD_BITS)
            | (units.high == 0)
            | units.high[16:].any()
        )
        with m.State("PACKING"):
            m.d.comb += units.take.eq(1)
            with m.If(units.valid):
                m.d.comb += decoder.begin.eq(1)
                m.next = "UNPACK"
                with m.If(wrong):
                    self._fail(m, ErrorCode.BAD_SECTION)
                self._refuse_end(m, units)
            range_bad = self._build_range_bad(m, address, address + entries)
            m.d.sync += self._refused.eq(misplaced | (range_bad | (entries == 0)))
            self._refuse_section(m)
        with m.State("UNPACK"):
            m.d.comb += [units.take.eq(decoder.i.ready), decoder.i.valid.eq(units.valid)]
            with m.If(units.valid & units.take):
                self._refuse_end(m, units)
            with m.If(decoder.o_valid):
                m.d.sync += [
                    self.load_valid.eq(1),
                    self._load.address.eq(address),
                    address.eq(address + 1),
                ]
                m.d.sync += [
                    item.eq(entry) for item, entry in zip(self._load.lists, decoder.o, strict=True)
                ]
            with m.If(decoder.done):
                m.next = "SECTION"
                with m.If(sections == 0):
                    m.next = "CHECKSUM"
            with m.If(decoder.bad):
                self._fail(m, ErrorCode.BAD_SECTION)
            self._refuse_section(m)

    def _build_block_header(self, m: Module, units: _Units, sections: Signal) -> None:
        """Read the length of the block after this one, and the number of sections."""
        with m.State("FOLLOWING"):
            m.d.comb += units.take.eq(1)
            m.d.sync += [self._following.eq(units.low), sections.eq(units.high)]
            m.next = "SECTION"
            with m.If(units.high == 0):
                m.next = "CHECKSUM"
            with m.If(self._wrong_length(units.low)):
                self._fail(m, ErrorCode.BAD_SECTION)

    def _refuse_end(self, m: Module, units: _Units) -> None:
        with m.If(units.one_left):
            self._fail(m, ErrorCode.BAD_SECTION)

    def _refuse_section(self, m: Module) -> None:
        """Fail two cycles after a section's header, whether its entries have come or not."""
        with m.If(self._refused):
            self._fail(m, ErrorCode.BAD_SECTION)

    def _build_place(self, m: Module, word: Value, bad: Signal) -> None:
        """Keep whose memory a section fills, and whether there is none such."""
        config, load = self._config, self._load
        lane, is_wide, has_lists = word[8:16], word[2], ~word[1]
        assert {Memory.WEIGHT, Memory.POINTER} == {0, 1}
        short_lanes, wide_lanes = (
            (lane & (section_lanes(Memory.WEIGHT, wide=wide) - 1)).any() for wide in (False, True)
        )
        m.d.sync += [
            load.memory.eq(word[0:2]),
            load.wide.eq(is_wide),
            load.lane.eq(lane),
            load.cluster.eq(word[16:23]),
            load.all_clusters.eq(word[23]),
            load.group.eq(word[24:31]),
            load.all_groups.eq(word[31]),
            bad.eq(
                self._build_packing_bad(word)
                | Mux(has_lists, Mux(is_wide, wide_lanes, short_lanes), is_wide)
                | (lane >= config.lanes)
                | ((word[16:23] >= config.clusters) & ~word[23])
                | ((word[24:31] >= config.groups) & ~word[31])
            ),
        ]

    def _build_packing_bad(self, word: Value) -> Value:
        """Return whether a section is packed as there is no decoder for."""
        if not self._config.list_decoder:
            return word[3:8].any()
        packing = word[3:5]
        packable = (word[0:2] == Memory.WEIGHT) & ~word[2] & (packing != len(ListPacking))
        return word[6:8].any() | Mux(packing == ListPacking.NONE, word[5], ~packable)

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

    def _build_entry(self, m: Module, units: _Units) -> Value:
        """Put a unit into its place in the entry; return whether it is the entry's last."""
        load, second = self._load, Signal()
        is_param = load.memory == Memory.PARAM
        m.d.sync += second.eq(is_param & ~second)
        with m.If(second):
            m.d.sync += load.data[len(units.all) :].eq(units.all)
        with m.Else():
            m.d.sync += load.data[: len(units.all)].eq(units.all)
        shorts = [units.all.word_select(place, 16) for place in range(len(load.lists))]
        for short, (place, item) in zip(shorts, enumerate(load.lists), strict=True):
            word = units.high if place % UNIT_WORDS else units.low
            m.d.sync += item.eq(Mux(load.wide, word, short.as_signed()))
        is_last: Value = ~is_param | second
        return is_last
