from dataclasses import replace
from functools import cache

import pytest

from jpnet_hw.instruction_fetch import InstructionFetch
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import Memory
from jpnet_spec.instruction import Instruction, LayerFlag, Opcode

shared_instruction_fetch = cache(InstructionFetch)

CONFIG = AcceleratorConfig(
    groups=4, clusters=1, contexts=2, act_depth=64, acc_depth=64, program_depth=8
)
RESULT = LayerFlag.RESULT
RIGHTFUL = Instruction(
    opcode=Opcode.FULLY_CONNECTED,
    flags=LayerFlag(0),
    source_slot=0,
    target_slot=1,
    threshold_mode=1,
    source_base=0,
    source_rows=23,
    target_base=24,
    rows=7,
    pointer_base=0,
    param_base=0,
    winners=5,
    shift=10,
    static_threshold=0,
    sample_stride=1,
)
FLAGS = LayerFlag.MAP | LayerFlag.FIRST_TILE | LayerFlag.LAST_TILE
CONVOLUTION = replace(
    RIGHTFUL,
    opcode=Opcode.CONVOLUTION,
    flags=FLAGS,
    pool_window=1,
    pool_stride=1,
    source_rows=0,
    source_height=4,
    source_width=5,
    source_pixel_words=1,
    source_row_words=5,
    source_words=20,
    output_height=2,
    output_width=3,
    kernel_height=3,
    stored_height=2,
    stored_width=3,
    run_lists=3,
    channel_lists=9,
    phase_lists=9,
    blocks=2,
    line_rows=21,
    target_words=24,
    target_pixel_words=4,
    target_row_words=12,
)


def instruction(**fields):
    """Return an instruction that is right but for the given fields."""
    return replace(RIGHTFUL, **fields)


def convolution(**fields):
    """Return a convolution that is right but for the given fields."""
    return replace(CONVOLUTION, **fields)


def fetch_outcome(simulate, config, words, instructions, position, blocks=0):
    """Fetch up to a position; return its error, or 0 when it is valid, and the cycles taken."""
    dut = shared_instruction_fetch(config)
    outcome = []

    async def bench(ctx):
        ctx.set(dut.load.memory, int(Memory.INSTRUCTION))
        ctx.set(dut.load_valid, 1)
        for address, word in enumerate(words):
            ctx.set(dut.load.address, address)
            ctx.set(dut.load.data, word)
            await ctx.tick()
        ctx.set(dut.load_valid, 0)
        ctx.set(dut.instructions, instructions)
        ctx.set(dut.blocks, blocks)
        ctx.set(dut.act_limit, 64)
        ctx.set(dut.acc_limit, 64)
        trigger, latency = dut.start, dut.LATENCY
        for index in range(position + 1):
            ctx.set(trigger, 1)
            await ctx.tick()
            ctx.set(trigger, 0)
            for _ in range(latency - 1):
                assert not ctx.get(dut.valid)
                assert not ctx.get(dut.error_valid)
                await ctx.tick()
            assert ctx.get(dut.index) == index % instructions
            trigger, latency = dut.take, dut.TAKE_LATENCY
        outcome.append(ctx.get(dut.error) if ctx.get(dut.error_valid) else ErrorCode.NONE)
        assert ctx.get(dut.valid) == (outcome[0] == ErrorCode.NONE)

    simulate(dut, bench, budget=len(words) + 64 + 40 * (position + 1))
    return ErrorCode(outcome[0])


WRONG = {
    "known_flags": {"flags": 128},
    "result_too_early": {"flags": RESULT},
    "source_end": {"source_base": 60, "source_rows": 9},
    "source_rows": {"source_rows": 65535},
    "target_end": {"target_base": 63},
    "no_rows": {"rows": 0},
    "rows": {"rows": 68},
    "pointer_base": {"pointer_base": 2048},
    "param_end": {"param_base": 506},
    "shift": {"shift": 41},
    "packing": {"source_packing": 4},
    "stride_low": {"threshold_mode": 2, "sample_stride": 1},
    "stride_high": {"threshold_mode": 2, "sample_stride": 257},
}


@pytest.mark.parametrize("fields", list(WRONG.values()), ids=list(WRONG))
def test_wrong_field_is_reported(fields, simulate):
    words = instruction().encode() + instruction(**fields).encode() + instruction().encode()
    assert fetch_outcome(simulate, CONFIG, words, 3, 1) is ErrorCode.BAD_FIELD


RIGHT = {
    "source_end": {"source_base": 60, "source_rows": 8},
    "target_end": {"target_base": 60},
    "rows": {"rows": 64},
    "param_end": {"param_base": 505},
    "shift": {"shift": 40},
    "stride_low": {"threshold_mode": 2, "sample_stride": 2},
    "stride_high": {"threshold_mode": 2, "sample_stride": 256},
    "no_rows": {"source_base": 64, "source_rows": 0},
}


@pytest.mark.parametrize("fields", list(RIGHT.values()), ids=list(RIGHT))
def test_field_at_its_limit_is_valid(fields, simulate):
    words = instruction().encode() + instruction(**fields).encode() + instruction().encode()
    assert fetch_outcome(simulate, CONFIG, words, 3, 1) is ErrorCode.NONE


WRONG_CONVOLUTION = {
    "vector": {"flags": LayerFlag.FIRST_TILE},
    "source_words": {"source_base": 45},
    "target_words": {"target_base": 41},
    "no_height": {"source_height": 0},
    "no_width": {"source_width": 0},
    "no_pixel": {"source_pixel_words": 0},
    "no_output_height": {"output_height": 0},
    "no_output_width": {"output_width": 0},
    "no_kernel": {"kernel_height": 0},
    "no_lists": {"run_lists": 0},
    "no_blocks": {"blocks": 0},
    "stride": {"stride_log2": 3},
    "pool_window": {"pool_window": 0},
    "pool_stride": {"pool_stride": 2},
    "carried_end": {"flags": FLAGS | LayerFlag.CARRIED, "carried_base": 41},
    "second_end": {"flags": FLAGS | LayerFlag.SECOND, "second_base": 41},
    "second_params": {"flags": FLAGS | LayerFlag.SECOND, "second_params": 506},
    "second_shift": {"second_shift": 41},
    "pooled_sum": {"flags": FLAGS | LayerFlag.CARRIED, "pool_window": 2, "pool_stride": 2},
    "pooled_second": {"flags": FLAGS | LayerFlag.SECOND, "pool_window": 2, "pool_stride": 2},
    "vector_sum": {"flags": FLAGS | LayerFlag.SUMMED | LayerFlag.GATHER},
    "kept_threshold": {"flags": FLAGS | LayerFlag.KEEP_SUMS},
    "gathered_end": {"flags": FLAGS | LayerFlag.GATHER, "target_base": 63},
}


@pytest.mark.parametrize("fields", list(WRONG_CONVOLUTION.values()), ids=list(WRONG_CONVOLUTION))
def test_wrong_field_of_a_convolution_is_reported(fields, simulate):
    words = instruction().encode() + convolution(**fields).encode() + instruction().encode()
    assert fetch_outcome(simulate, CONFIG, words, 3, 1) is ErrorCode.BAD_FIELD


RIGHT_CONVOLUTION = {
    "as_it_is": {},
    "source_words": {"source_base": 44},
    "target_words": {"target_base": 40},
    "stride": {"stride_log2": 2},
    "pool": {"pool_window": 2, "pool_stride": 2},
    "carried_end": {"flags": FLAGS | LayerFlag.CARRIED, "carried_base": 40},
    "second_end": {"flags": FLAGS | LayerFlag.SECOND, "second_base": 40, "second_params": 505},
    "summed": {"flags": FLAGS | LayerFlag.SUMMED | LayerFlag.SECOND, "second_shift": 40},
    "kept": {"flags": LayerFlag.MAP | LayerFlag.KEEP_SUMS},
    "gathered_end": {"flags": FLAGS | LayerFlag.GATHER, "target_base": 60},
}


@pytest.mark.parametrize("fields", list(RIGHT_CONVOLUTION.values()), ids=list(RIGHT_CONVOLUTION))
def test_field_of_a_convolution_at_its_limit_is_valid(fields, simulate):
    words = instruction().encode() + convolution(**fields).encode() + instruction().encode()
    assert fetch_outcome(simulate, CONFIG, words, 3, 1) is ErrorCode.NONE


@pytest.mark.parametrize("opcode", [0, 3, 255])
def test_unknown_opcode_is_reported(opcode, simulate):
    words = list(instruction(flags=RESULT).encode())
    words[0] = words[0] & ~0xFF | opcode
    assert fetch_outcome(simulate, CONFIG, words, 1, 0) is ErrorCode.BAD_OPCODE


@pytest.mark.parametrize(
    ("word", "bit"), [(4, 30), (4, 31), (5, 7), (5, 31), (6, 30), (12, 31), (19, 31)]
)
def test_reserved_bit_is_reported(word, bit, simulate):
    words = list(instruction(flags=RESULT).encode())
    words[word] |= 1 << bit
    assert fetch_outcome(simulate, CONFIG, words, 1, 0) is ErrorCode.BAD_FIELD


def test_missing_result_flag_is_reported(simulate):
    words = instruction().encode() * 2
    assert fetch_outcome(simulate, CONFIG, words, 2, 1) is ErrorCode.BAD_FIELD


def test_fetch_wraps_to_the_first_instruction(simulate):
    words = instruction().encode() + instruction(flags=RESULT).encode()
    assert fetch_outcome(simulate, CONFIG, words, 2, 4) is ErrorCode.NONE


@pytest.mark.parametrize(
    ("ends", "position", "code"),
    [
        ((0, 1, 0, 1), 7, ErrorCode.NONE),
        ((1, 0, 0, 1), 11, ErrorCode.NONE),
        ((1, 1, 0, 0), 3, ErrorCode.NONE),
        ((1, 1, 0, 1), 3, ErrorCode.BAD_FIELD),
        ((1, 1, 1, 0), 2, ErrorCode.BAD_FIELD),
        ((0, 0, 0, 1), 3, ErrorCode.BAD_FIELD),
        ((0, 1, 0, 0), 3, ErrorCode.BAD_FIELD),
    ],
)
def test_as_many_blocks_end_as_there_are(simulate, ends, position, code):
    flags = [LayerFlag.NEXT_BLOCK * end for end in ends]
    flags[-1] |= RESULT
    words = sum((instruction(flags=item).encode() for item in flags), ())
    assert fetch_outcome(simulate, CONFIG, words, 4, position, blocks=2) is code


@pytest.mark.parametrize(("rows", "code"), [(2, ErrorCode.NONE), (3, ErrorCode.BAD_FIELD)])
def test_a_tile_of_a_vector_ends_in_the_memory(simulate, rows, code):
    config = replace(CONFIG, clusters=4, act_word=8, lanes=4, axi_data_width=64)
    fields = {"target_base": config.act_depth - 1, "rows": rows, "first_column": 1}
    words = instruction(flags=RESULT, first_block=2, **fields).encode()
    assert fetch_outcome(simulate, config, words, 1, 0) is code


POOLS = {(1, 1), (2, 1), (2, 2), (3, 1), (3, 2)}


@pytest.mark.parametrize("window", range(4))
@pytest.mark.parametrize("stride", range(4))
def test_pooling_windows_and_strides_that_the_drain_knows_are_valid(simulate, window, stride):
    extents = ("source_height", "source_width", "source_pixel_words", "source_row_words")
    extents += ("source_words", "output_height", "output_width", "kernel_height", "run_lists")
    fields = dict.fromkeys((*extents, "stored_height", "stored_width", "blocks", "line_rows"), 1)
    fields |= {"opcode": Opcode.CONVOLUTION, "flags": RESULT | LayerFlag.MAP, "source_rows": 0}
    words = instruction(**fields, pool_window=window, pool_stride=stride).encode()
    valid = (window, stride) in POOLS
    outcome = ErrorCode.NONE if valid else ErrorCode.BAD_FIELD
    assert fetch_outcome(simulate, CONFIG, words, 1, 0) is outcome
