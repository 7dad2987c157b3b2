"""The program image: what the accelerator's loader reads from memory.

The loader takes a unit of `UNIT_WORDS` 32-bit words at a time, so that lists of several lanes come
side by side.

Weights and list tables that do not fit the lanes' memories follow the program as a stream of
blocks. Block b fills slot ``b % SLOTS``, a half of each lane's weight memory and list table, and
is loaded again for every group of images that are in flight together.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.instruction import FORMAT_VERSION
from jpnet_spec.packed_lists import PackedFields
from jpnet_spec.registers import ID_VALUE

__all__ = [
    "BLOCK_HEADER_WORDS",
    "HEADER_WORDS",
    "PACKING_HEADER_WORDS",
    "ROW_MODULUS",
    "SECTION_HEADER_WORDS",
    "SHORT_ROWS",
    "SLOTS",
    "UNIT_WORDS",
    "HeaderWord",
    "Memory",
    "Section",
    "build_image",
    "decode_values",
    "entry_words",
    "section_lanes",
    "whole_units",
]

UNIT_WORDS = 2
"""32-bit words that the loader takes in a cycle."""

HEADER_WORDS = 16
"""32-bit words of the header."""

BLOCK_HEADER_WORDS = 2
"""Words before a block's sections: words of the block after it, and number of sections."""

SECTION_HEADER_WORDS = 2
"""Words of a section before its entries."""

PACKING_HEADER_WORDS = 2
"""More such words, where the entries are packed."""

ROW_MODULUS = 2**24
"""Of a weight entry's row, which is an offset; a weight memory keeps the lower bits."""

SHORT_ROWS = 128
"""Rows that weight entries of 16 bits tell apart, in each direction."""

SLOTS = 2
"""Parts of the weight memory and of the list table that hold a streamed block each."""


class HeaderWord(IntEnum):
    """Position of each header word; the others are reserved and 0."""

    MAGIC = 0
    """`jpnet_spec.registers.ID_VALUE`."""
    VERSION = 1
    """`jpnet_spec.instruction.FORMAT_VERSION`."""
    CONFIG = 2
    """`AcceleratorConfig.config_hash`."""
    TOTAL_WORDS = 3
    """Words of header, sections, body checksum, zero padding; blocks follow."""
    SECTIONS = 4
    """Number of sections."""
    INSTRUCTIONS = 5
    """Number of instructions."""
    INPUT_BASE = 6
    """First activation word address of the input."""
    INPUT_ROWS = 7
    """Rows of one image; images lie as many whole beats apart in memory as these fill."""
    RESULT_BASE = 8
    """First activation word address of the result."""
    RESULT_ROWS = 9
    """Rows of one result; results lie as many whole beats apart in memory as these fill."""
    BLOCKS = 10
    """Blocks of the stream, an even number; 0 where all lists are resident."""
    BLOCK_WORDS = 11
    """Words of the first block, 0 without a stream."""
    IN_FLIGHT = 12
    """Images in flight: 1, 2 or 4, at most `contexts`."""
    CHECKSUM = 14
    """CRC-32 of header words 0 to 13."""


class Memory(IntEnum):
    """Memories that a section fills."""

    WEIGHT = 0
    """Weight memories of some lanes: an entry of each lane, ``row << 8 | weight``."""
    POINTER = 1
    """List tables of some lanes: an entry of each lane."""
    PARAM = 2
    """Channel parameters of a drain lane: bias, multipliers, phase.

    The bias has 31 bits; bit 31 tells that a second tensor's outputs are negated.
    """
    INSTRUCTION = 3
    """Instruction words."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Section:
    """Consecutive entries of one memory, or of those of some lanes.

    In the image: word 0 is ``memory | wide << 2 | lane << 8 | cluster << 16 | all_clusters << 23 |
    group << 24 | all_groups << 31``, word 1 is ``address | entries << 16``, then the entries. An
    entry is a unit, one of channel parameters two; what it does not fill is 0.

    Packed weights, see `jpnet_spec.packed_lists`, add ``packing << 3 | begins << 5`` to word 0.
    Word 2 is then ``rows | columns << 16 | code << 24``, word 3 the number of units that follow.

    A unit of lists has four fields of 16 bits, one for each of the lanes from ``lane`` on; where
    it is ``wide`` it has two of 32 bits. A weight's row is an offset modulo `ROW_MODULUS`; in
    a field of 16 bits it is one from -`SHORT_ROWS` to ``SHORT_ROWS - 1``.

    Parameters
    ----------
    memory
        Which memory.
    wide
        Whether weight entries have 32 bits.
    lane
        Of channel parameters their lane; of lists the first one, a multiple of `lanes`.
    cluster, group
        Whose; ``None`` means all clusters, or all groups of the cluster.
    address
        First entry (for instructions: first 32-bit word).
    values : uint32, shape (entries, columns)
        Of lists a column for each lane that there is, of channel parameters three, of instructions
        one.
    packed
        How weights are packed, None where they are not.

    Raises
    ------
    ValueError
        When encoded: if a row does not fit its field.
    """

    memory: Memory
    wide: bool = False
    lane: int = 0
    cluster: int | None = 0
    group: int | None = None
    address: int = 0
    values: NDArray[np.uint32]
    packed: PackedFields | None = None

    @property
    def lanes(self) -> int:
        """Lanes that an entry is for, as far as there are so many."""
        return section_lanes(self.memory, wide=self.wide)

    def encode(self) -> NDArray[np.uint32]:
        """Return the section's words, header included."""
        group = 1 << 31 if self.group is None else self.group << 24
        cluster = 1 << 23 if self.cluster is None else self.cluster << 16
        first = int(self.memory) | self.wide << 2 | self.lane << 8 | cluster | group
        second = self.address | len(self.values) << 16
        if self.packed is None:
            header = np.array([first, second], dtype=np.uint32)
            return np.concatenate([header, self._encode_values()])
        shape, units = self.packed.shape, self.packed.pack(self.values.astype(np.uint8))
        first |= shape.packing << 3 | self.packed.begins << 5
        third = shape.rows | shape.columns << 16 | self.packed.code << 24
        header = np.array([first, second, third, len(units)], dtype=np.uint32)
        return np.concatenate([header, units.astype("<u8").view("<u4").astype(np.uint32)])

    def _encode_values(self) -> NDArray[np.uint32]:
        """Return the entries' words."""
        count, columns = self.values.shape
        short = _is_short(self.memory, wide=self.wide)
        if short and self.memory is Memory.WEIGHT:
            rows = (self.values >> 8).astype(np.int64)
            outside = (rows >= SHORT_ROWS) & (rows < ROW_MODULUS - SHORT_ROWS)
            if outside.any():
                raise ValueError(
                    f"Section.values must have rows from -{SHORT_ROWS} to {SHORT_ROWS - 1} unless "
                    f"wide, not {int(rows[outside][0])!r}"
                )
        width = entry_words(self.memory) * (2 if short else 1)
        padded = np.zeros((count, width), dtype=np.uint32)
        padded[:, :columns] = self.values
        return padded.astype("<u2").view("<u4").ravel() if short else padded.ravel()


def _is_short(memory: Memory, *, wide: bool) -> bool:
    """Return whether values have 16 bits."""
    return memory in (Memory.WEIGHT, Memory.POINTER) and not wide


def section_lanes(memory: Memory, *, wide: bool) -> int:
    """Return for how many lanes a section is, as far as there are so many."""
    if memory in (Memory.WEIGHT, Memory.POINTER):
        return UNIT_WORDS if wide else 2 * UNIT_WORDS
    return 1


def entry_words(memory: Memory) -> int:
    """Return the 32-bit words of an entry, whole units."""
    return 2 * UNIT_WORDS if memory is Memory.PARAM else UNIT_WORDS


def decode_values(words: NDArray[np.uint32], memory: Memory, *, wide: bool) -> NDArray[np.uint32]:
    """Return a section's values, with a column for each lane or word that an entry has room for.

    Parameters
    ----------
    words : uint32, shape (entries * words of an entry,)
        What follows the section's header.
    memory, wide
        As in `Section`.
    """
    if not _is_short(memory, wide=wide):
        return words.reshape(-1, entry_words(memory))
    values = words.astype("<u4").view("<u2").astype(np.int64).reshape(-1, 2 * UNIT_WORDS)
    if memory is Memory.WEIGHT:
        rows = (values >> 8).astype(np.uint8).view(np.int8).astype(np.int64) % ROW_MODULUS
        values = rows << 8 | values & 0xFF
    return values.astype(np.uint32)


def whole_units(config: AcceleratorConfig) -> int:
    """Return of how many words a program's and a block's length is a multiple: beats and units."""
    return max(config.beat_bytes // 4, UNIT_WORDS)


def _checked(config: AcceleratorConfig, body: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return words, their CRC-32 and zero words up to whole units and beats."""
    checksum = zlib.crc32(body.astype("<u4").tobytes())
    padding = -(len(body) + 1) % whole_units(config)
    return np.concatenate([body, np.array([checksum, *[0] * padding], dtype=np.uint32)])


def _build_stream(
    config: AcceleratorConfig, blocks: Sequence[Sequence[Section]]
) -> list[NDArray[np.uint32]]:
    """Return each block's words: header, sections, checksum, padding."""
    bodies = [
        np.concatenate([np.array([0, len(block)], dtype=np.uint32), *map(Section.encode, block)])
        for block in blocks
    ]
    sizes = [len(_checked(config, body)) for body in bodies]
    for body, following in zip(bodies, [*sizes[1:], *sizes[:1]], strict=True):
        body[0] = following
    return [_checked(config, body) for body in bodies]


def build_image(
    config: AcceleratorConfig,
    sections: Sequence[Section],
    *,
    instructions: int,
    input_base: int,
    input_rows: int,
    result_base: int,
    result_rows: int,
    in_flight: int,
    blocks: Sequence[Sequence[Section]] = (),
) -> NDArray[np.uint32]:
    """Assemble header, sections, checksums and the stream.

    The body (all sections) is followed by its CRC-32 and by zero words up to a whole number of
    units and of beats. Each block of the stream, whose sections fill weight memories and list
    tables only, has its own header, CRC-32 and padding. All checksums are the CRC-32 of `zlib`,
    over the words' little-endian bytes; a block's covers its header, too.

    Raises
    ------
    ValueError
        If the number of blocks is odd.
    """
    if len(blocks) % SLOTS:
        raise ValueError(f"blocks must be a multiple of {SLOTS}, not {len(blocks)!r}")
    body = _checked(config, np.concatenate([section.encode() for section in sections]))
    stream = _build_stream(config, blocks)
    header = np.zeros(HEADER_WORDS, dtype=np.uint32)
    header[HeaderWord.MAGIC] = ID_VALUE
    header[HeaderWord.VERSION] = FORMAT_VERSION
    header[HeaderWord.CONFIG] = config.config_hash
    header[HeaderWord.TOTAL_WORDS] = HEADER_WORDS + len(body)
    header[HeaderWord.SECTIONS] = len(sections)
    header[HeaderWord.INSTRUCTIONS] = instructions
    header[HeaderWord.INPUT_BASE] = input_base
    header[HeaderWord.INPUT_ROWS] = input_rows
    header[HeaderWord.RESULT_BASE] = result_base
    header[HeaderWord.RESULT_ROWS] = result_rows
    header[HeaderWord.BLOCKS] = len(blocks)
    header[HeaderWord.BLOCK_WORDS] = len(stream[0]) if stream else 0
    header[HeaderWord.IN_FLIGHT] = in_flight
    header[HeaderWord.CHECKSUM] = zlib.crc32(header[: HeaderWord.CHECKSUM].astype("<u4").tobytes())
    return np.concatenate([header, body, *stream])
