"""Instructions of the accelerator: fields, ranges and their packing into 32-bit words."""

from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag

__all__ = [
    "FIELDS",
    "FORMAT_VERSION",
    "INSTRUCTION_WORDS",
    "THRESHOLD_SLOTS",
    "Field",
    "Instruction",
    "LayerFlag",
    "Opcode",
]

FORMAT_VERSION = 2
"""Version of instructions and program images."""

INSTRUCTION_WORDS = 16
"""32-bit words of an instruction; words without a field are 0 in this version."""

THRESHOLD_SLOTS = 16
"""Thresholds a context remembers; slot 0 is always 0, the image's."""


class Opcode(IntEnum):
    """Operations."""

    FULLY_CONNECTED = 1
    """Scatter the surviving activations of a vector, drain the sums as another vector."""


class LayerFlag(IntFlag):
    """Options of an instruction."""

    DENSE = 1
    """Issue every activation, zeros too: the dense network, for comparison."""
    DIVIDED = 2
    """Input i of a cluster belongs to group ``i % groups``; otherwise any group takes it."""
    FREE_IMAGE = 4
    """After this instruction's activations are read, the next image may overwrite the input."""
    RESULT = 8
    """The output is the network's result; this is the program's last instruction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Place of a field: 32-bit word, lowest bit and width."""

    word: int
    bit: int
    width: int


FIELDS: dict[str, Field] = {
    "opcode": Field(word=0, bit=0, width=8),
    "flags": Field(word=0, bit=8, width=8),
    "source_slot": Field(word=0, bit=16, width=4),
    "target_slot": Field(word=0, bit=20, width=4),
    "threshold_mode": Field(word=0, bit=24, width=2),
    "source_base": Field(word=1, bit=0, width=16),
    "source_rows": Field(word=1, bit=16, width=16),
    "target_base": Field(word=2, bit=0, width=16),
    "rows": Field(word=2, bit=16, width=16),
    "pointer_base": Field(word=3, bit=0, width=16),
    "param_base": Field(word=3, bit=16, width=16),
    "winners": Field(word=4, bit=0, width=24),
    "shift": Field(word=4, bit=24, width=6),
    "static_threshold": Field(word=5, bit=0, width=7),
    "sample_stride": Field(word=5, bit=8, width=9),
}
"""Field name to place. Words 6 to 15 are reserved and must be 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """One layer: which activations to read, which lists to meet, how to drain.

    A tensor is a sequence of rows of `lanes` activations. Where they lie, counted from the tensor's
    base, is told by `jpnet_spec.config.AcceleratorConfig.row_places`.

    Parameters
    ----------
    opcode, flags
        Operation and options.
    source_slot, target_slot
        Where the input's threshold is read and the output's is stored; 0 reads as 0.
    threshold_mode
        `jpnet_spec.topn.ThresholdMode` of the output.
    source_base, source_rows
        First word address, and number of rows, of the input tensor.
    target_base
        First word address of the output tensor.
    rows
        Rows to drain, `lanes` outputs each.
    pointer_base
        First list table entry.
    param_base
        First row of the channel parameters.
    winners
        N that the counted elements are compared with.
    shift
        Requantisation shift, 0 to 40.
    static_threshold
        For the static mode.
    sample_stride
        For the sampled mode; an output is counted iff its channel's phase is 0.

    Raises
    ------
    ValueError
        If a value does not fit its field.
    """

    opcode: Opcode
    flags: LayerFlag
    source_slot: int
    target_slot: int
    threshold_mode: int
    source_base: int
    source_rows: int
    target_base: int
    rows: int
    pointer_base: int
    param_base: int
    winners: int
    shift: int
    static_threshold: int
    sample_stride: int

    def __post_init__(self) -> None:
        for item in fields(self):
            limit = 2 ** FIELDS[item.name].width
            value = getattr(self, item.name)
            if not 0 <= int(value) < limit:
                raise ValueError(
                    f"Instruction.{item.name} must be from 0 to {limit - 1}, not {value!r}"
                )

    def encode(self) -> tuple[int, ...]:
        """Return the `INSTRUCTION_WORDS` 32-bit words."""
        words = [0] * INSTRUCTION_WORDS
        for name, place in FIELDS.items():
            words[place.word] |= int(getattr(self, name)) << place.bit
        return tuple(words)
