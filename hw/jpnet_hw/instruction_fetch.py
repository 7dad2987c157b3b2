"""Instruction memory of one context, with prefetch and checks."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.layouts import load_layout
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.instruction import FIELDS

__all__ = ["InstructionFetch", "instruction_layout"]


def instruction_layout() -> data.StructLayout:
    """All fields of an instruction, by name."""
    return data.StructLayout({name: unsigned(place.width) for name, place in FIELDS.items()})


class InstructionFetch(wiring.Component):
    """Reads instructions in a circle, one ahead, and checks their fields.

    After `start` instruction 0 is read, after each `take` the next; after instruction
    ``instructions - 1`` comes instruction 0 again. `valid` rises `LATENCY` cycles after `start` or
    `take`. An instruction with a wrong field is never valid; its error is reported instead, and
    only `start` or a reset continues.

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
    start : in
        Pulse: fetch instruction 0, dropping what was fetched.
    valid : out
        `o` and `index` hold a checked instruction.
    o : out, `instruction_layout`
    index : out, unsigned(10)
        Its number.
    take : in
        Pulse, only while valid: `o` is no longer needed from the next cycle on.
    error_valid : out
        One-cycle pulse: the fetched instruction is wrong.
    error : out
        `ErrorCode.BAD_OPCODE` or `ErrorCode.BAD_FIELD`.
    """

    LATENCY = 21

    load_valid: Signal
    load: data.View
    instructions: Signal
    start: Signal
    valid: Signal
    o: data.View
    index: Signal
    take: Signal
    error_valid: Signal
    error: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "load_valid": In(1),
                "load": In(load_layout(config)),
                "instructions": In(range(config.program_depth + 1)),
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
        return Module()
