"""Instruction memory of one context, with prefetch and checks."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_hw.layouts import load_layout, struct_signal
from jpnet_hw.memory import SyncMemory
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import Memory
from jpnet_spec.instruction import FIELDS, INSTRUCTION_WORDS, LayerFlag, Opcode
from jpnet_spec.numbers import SHIFT_MAX
from jpnet_spec.topn import SAMPLE_STRIDE_MAX, ThresholdMode

__all__ = ["InstructionFetch", "instruction_layout"]


_CHECK_CYCLES = 4
"""From the last word's arrival to the verdict."""


def instruction_layout() -> data.StructLayout:
    """Return all fields of an instruction, by name."""
    return data.StructLayout({name: unsigned(place.width) for name, place in FIELDS.items()})


class InstructionFetch(wiring.Component):
    """Reads instructions in a circle, one ahead, and checks their fields.

    After `start` instruction 0 is read, after each `take` the next; after instruction
    ``instructions - 1`` comes instruction 0 again. `valid` rises `LATENCY` cycles after `start`,
    and `TAKE_LATENCY` after `take`. An instruction with a wrong field is never valid; its error is
    reported instead, and only `start` or a reset continues.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    load_valid, load : in, `load_layout`
        32-bit words of instructions.
    instructions : in
        Instructions of the program, 1 to `program_depth`; held stable.
    act_limit, acc_limit : in
        Words and accumulator rows that an image has; held stable.
    blocks : in
        Blocks of streamed lists, as many as instructions have the flag NEXT_BLOCK; held stable.
    start : in
        Pulse: fetch instruction 0, dropping what was fetched.
    valid : out
        `o` and `index` hold a checked instruction.
    o : out, `instruction_layout`
    index : out, unsigned(10)
        Its number.
    take : in
        Pulse, only while valid: `o` is no longer needed two cycles later, nor `index` one later.
    error_valid : out
        One-cycle pulse: the fetched instruction is wrong.
    error : out
        `ErrorCode.BAD_OPCODE` or `ErrorCode.BAD_FIELD`.
    """

    LATENCY = INSTRUCTION_WORDS + 3 + _CHECK_CYCLES
    TAKE_LATENCY = LATENCY + 1

    load_valid: Signal
    load: data.View
    instructions: Signal
    act_limit: Signal
    acc_limit: Signal
    blocks: Signal
    start: Signal
    valid: Signal
    o: data.View
    index: Signal
    take: Signal
    error_valid: Signal
    error: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        # A cycle late: far from what decides to take.
        self._taken = Signal()
        self._final = Signal(reset_less=True)
        super().__init__(
            {
                "load_valid": In(1),
                "load": In(load_layout(config)),
                "instructions": In(range(config.program_depth + 1)),
                "act_limit": In(config.act_addr_width + 1),
                "acc_limit": In(config.acc_row_width + 1),
                "blocks": In(range(config.program_depth + 2)),
                "start": In(1),
                "valid": Out(1),
                "o": Out(instruction_layout()),
                "index": Out(10),
                "take": In(1),
                "error_valid": Out(1),
                "error": Out(ErrorCode),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.words = words = SyncMemory(
            shape=unsigned(32), depth=config.program_depth * INSTRUCTION_WORDS
        )
        fetching, deciding = Signal(), Signal(_CHECK_CYCLES)
        word = Signal(range(INSTRUCTION_WORDS))
        address = Signal.like(words.r_addr)
        arrived = Signal(words.latency)
        places = [word]
        for stage in range(words.latency):
            place = Signal.like(word, name=f"place_{stage}", reset_less=True)
            m.d.sync += place.eq(places[-1])
            places.append(place)
        m.d.comb += [
            words.w_en.eq(self.load_valid & (self.load.memory == Memory.INSTRUCTION)),
            words.w_addr.eq(self.load.address),
            words.w_data.eq(self.load.data),
            words.r_addr.eq(address),
        ]
        wrong_opcode, wrong_field = self._build_checks(m, self._build_block_check(m))
        reserved = self._build_capture(m, places[-1], arrived[-1], words.r_data)

        m.d.sync += [
            self._taken.eq(self.take),
            self._final.eq(self.index == self.instructions - 1),
            word.eq(word + 1),
            arrived.eq(Cat(fetching, arrived)),
            deciding.eq(Cat(arrived[-1] & (places[-1] == INSTRUCTION_WORDS - 1), deciding)),
            self.error_valid.eq(0),
        ]
        with m.If(fetching):
            m.d.sync += address.eq(address + 1)
            with m.If(word == INSTRUCTION_WORDS - 1):
                m.d.sync += fetching.eq(0)
        with m.If(deciding[-1]):
            wrong = wrong_opcode | wrong_field | reserved
            m.d.sync += [self.valid.eq(~wrong), self.error_valid.eq(wrong)]
            m.d.sync += self.error.eq(Mux(wrong_opcode, ErrorCode.BAD_OPCODE, ErrorCode.BAD_FIELD))
        with m.If(self.start | self._taken):
            again = self.start | self._final
            m.d.sync += [
                self.index.eq(Mux(again, 0, self.index + 1)),
                fetching.eq(1),
                word.eq(0),
                arrived.eq(0),
                deciding.eq(0),
                self.error_valid.eq(0),
            ]
            with m.If(again):
                m.d.sync += address.eq(0)
        with m.If(self.start | self.take):
            m.d.sync += self.valid.eq(0)
        return m

    def _build_capture(self, m: Module, place: Signal, arrived: Value, word: Value) -> Signal:
        """Keep the fields of a word that arrives; return whether reserved bits were set."""
        reserved = Signal(reset_less=True)
        stray = Signal()
        fields = struct_signal(instruction_layout(), reset_less=True)
        m.d.comb += self.o.eq(fields)
        m.d.comb += stray.eq(word.any())
        for number in sorted({item.word for item in FIELDS.values()}):
            items = {name: item for name, item in FIELDS.items() if item.word == number}
            used = sum(((1 << item.width) - 1) << item.bit for item in items.values())
            with m.If(place == number):
                m.d.comb += stray.eq((word & ~used & 0xFFFFFFFF).any())
                with m.If(arrived):
                    for name, item in items.items():
                        m.d.sync += fields[name].eq(word[item.bit : item.bit + item.width])
        with m.If(arrived):
            m.d.sync += reserved.eq(stray | (reserved & (place != 0)))
        return reserved

    def _build_block_check(self, m: Module) -> Value:
        """Count the blocks that end; return whether there are too many, or too few at the end."""
        ended = Signal.like(self.blocks)
        following = ended + (self.o.flags & LayerFlag.NEXT_BLOCK).any()
        with m.If(self.start | (self._taken & self._final)):
            m.d.sync += ended.eq(0)
        with m.Elif(self._taken):
            m.d.sync += ended.eq(following)
        wrong: Value = (following > self.blocks) | (self._final & (following != self.blocks))
        return wrong

    def _build_checks(self, m: Module, wrong_blocks: Value) -> tuple[Signal, Signal]:
        """Compare the fields with the configuration; the words that matter come early enough."""
        config, o = self._config, self.o
        shift = exact_log2(config.clusters * config.act_columns)
        source_end, target_end, carried_end, second_end = (
            Signal(18, name=f"{name}_end", reset_less=True)
            for name in ("source", "target", "carried", "second")
        )
        wrong_opcode, wrong_field = Signal(reset_less=True), Signal(reset_less=True)
        rounding = (1 << shift) - 1
        convolution = o.opcode == Opcode.CONVOLUTION
        is_map = (o.flags & LayerFlag.MAP).any()
        drains_map = convolution & ~(o.flags & LayerFlag.GATHER).any()
        # Of a vector's tile: rows before the first one in the word that it begins in.
        skipped = (o.first_column << exact_log2(config.clusters)) + o.first_block
        m.d.sync += [
            source_end.eq(
                o.source_base + Mux(is_map, o.source_words, (o.source_rows + rounding) >> shift)
            ),
            target_end.eq(
                o.target_base
                + Mux(drains_map, o.target_words, (o.rows + skipped + rounding) >> shift)
            ),
            carried_end.eq(o.carried_base + o.target_words),
            second_end.eq(o.second_base + o.target_words),
        ]
        carried, summed, second, kept = (
            (o.flags & flag).any()
            for flag in (
                *(LayerFlag.CARRIED, LayerFlag.SUMMED, LayerFlag.SECOND),
                LayerFlag.KEEP_SUMS,
            )
        )
        extents = Cat(
            value.any()
            for value in (
                *(o.source_height, o.source_width, o.source_pixel_words, o.output_height),
                *(o.output_width, o.kernel_height, o.run_lists, o.blocks),
            )
        )
        strides = (o.pool_stride == 1) | (o.pool_stride == 2)
        pools = strides & (o.pool_window >= o.pool_stride)
        sampled = o.threshold_mode == ThresholdMode.SAMPLED
        rules = {
            "blocks": wrong_blocks,
            "result": (o.flags & LayerFlag.RESULT).any() != self._final,
            "source": source_end > self.act_limit,
            "target": target_end > self.act_limit,
            "carried": carried & (carried_end > self.act_limit),
            "second": second & (second_end > self.act_limit),
            "more": (carried | summed | second) & (~drains_map | (o.pool_window != 1)),
            "kept": kept & (self._final | (o.flags & LayerFlag.LAST_TILE).any()),
            "rows": (o.rows == 0) | (o.rows > self.acc_limit),
            "pointer_base": o.pointer_base >= config.pointer_depth,
            "params": o.param_base + o.rows > config.param_depth,
            "second_params": second & (o.second_params + o.rows > config.param_depth),
            "shift": (o.shift > SHIFT_MAX) | (o.second_shift > SHIFT_MAX),
            "extents": convolution & ~(extents.all() & is_map),
            "pool": convolution & ~pools,
            "kernel_stride": o.stride_log2 == 3,
            "packing": o.source_packing > exact_log2(config.act_word),
            "stride": sampled & ((o.sample_stride < 2) | (o.sample_stride > SAMPLE_STRIDE_MAX)),
        }
        broken = Signal(len(rules), reset_less=True)
        m.d.sync += [
            broken.eq(Cat(Value.cast(rule)[:1] for rule in rules.values())),
            wrong_field.eq(broken.any()),
            wrong_opcode.eq(
                (o.opcode != Opcode.FULLY_CONNECTED) & (o.opcode != Opcode.CONVOLUTION)
            ),
        ]
        return wrong_opcode, wrong_field
