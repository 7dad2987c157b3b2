from dataclasses import replace

import pytest

from jpnet_hw.instruction_fetch import InstructionFetch
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import Memory
from jpnet_spec.instruction import Instruction, LayerFlag, Opcode

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


def instruction(**fields):
    """Return an instruction that is right but for the given fields."""
    return replace(RIGHTFUL, **fields)


def fetch_outcome(simulate, config, words, instructions, position):
    """Fetch up to a position; return its error, or 0 when it is valid, and the cycles taken."""
    dut = InstructionFetch(config)
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
        trigger = dut.start
        for index in range(position + 1):
            ctx.set(trigger, 1)
            await ctx.tick()
            ctx.set(trigger, 0)
            for _ in range(dut.LATENCY - 1):
                assert not ctx.get(dut.valid)
                assert not ctx.get(dut.error_valid)
                await ctx.tick()
            assert ctx.get(dut.index) == index % instructions
            trigger = dut.take
        outcome.append(ctx.get(dut.error) if ctx.get(dut.error_valid) else ErrorCode.NONE)
        assert ctx.get(dut.valid) == (outcome[0] == ErrorCode.NONE)

    simulate(dut, bench, budget=len(words) + 64 + 40 * (position + 1))
    return ErrorCode(outcome[0])


WRONG = {
    "known_flags": {"flags": 16},
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


@pytest.mark.parametrize("opcode", [0, 2, 255])
def test_unknown_opcode_is_reported(opcode, simulate):
    words = list(instruction(flags=RESULT).encode())
    words[0] = words[0] & ~0xFF | opcode
    assert fetch_outcome(simulate, CONFIG, words, 1, 0) is ErrorCode.BAD_OPCODE


@pytest.mark.parametrize(("word", "bit"), [(0, 31), (4, 30), (5, 7), (5, 17), (6, 0), (15, 31)])
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
