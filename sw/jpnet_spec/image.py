"""The program image: what the accelerator's loader reads from memory.

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
from jpnet_spec.registers import ID_VALUE

__all__ = [
    "BLOCK_HEADER_WORDS",
    "HEADER_WORDS",
    "SLOTS",
    "HeaderWord",
    "Memory",
    "Section",
    "build_image",
]

HEADER_WORDS = 16
"""32-bit words of the header."""

BLOCK_HEADER_WORDS = 2
"""Words before a block's sections: words of the block after it, and number of sections."""

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
    """Words of header, sections, body checksum, zero padding to whole beats; blocks follow."""
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
    CHECKSUM = 15
    """CRC-32 of header words 0 to 14."""


class Memory(IntEnum):
    """Memories that a section fills."""

    WEIGHT = 0
    """Weight entries of a lane, one word each."""
    POINTER = 1
    """List table of a lane, one word each."""
    PARAM = 2
    """Channel parameters of a drain lane, three words each: bias, multipliers, phase.

    The bias has 31 bits; bit 31 tells that a second tensor's outputs are negated.
    """
    INSTRUCTION = 3
    """Instruction words."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Section:
    """Consecutive words of one memory.

    In the image: word 0 is ``memory | lane << 8 | cluster << 16 | all_clusters << 23 | group << 24
    | all_groups << 31``, word 1 is ``address | count << 16`` with the count in entries, then the
    entries' words.

    Parameters
    ----------
    memory
        Which memory.
    lane, cluster, group
        Whose; ``None`` means all clusters, or all groups of the cluster.
    address
        First entry (for instructions: first 32-bit word).
    words : uint32, shape (entries * words per entry,)
    """

    memory: Memory
    lane: int = 0
    cluster: int | None = 0
    group: int | None = None
    address: int = 0
    words: NDArray[np.uint32]

    @property
    def entries(self) -> int:
        """Number of entries."""
        return len(self.words) // (3 if self.memory is Memory.PARAM else 1)

    def encode(self) -> NDArray[np.uint32]:
        """Return the section's words, header included."""
        group = 1 << 31 if self.group is None else self.group << 24
        cluster = 1 << 23 if self.cluster is None else self.cluster << 16
        first = int(self.memory) | self.lane << 8 | cluster | group
        second = self.address | self.entries << 16
        return np.concatenate([np.array([first, second], dtype=np.uint32), self.words])


def _checked(config: AcceleratorConfig, body: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return words, their CRC-32 and zero words up to whole beats."""
    beat_words = max(config.beat_bytes // 4, 1)
    checksum = zlib.crc32(body.astype("<u4").tobytes())
    padding = -(len(body) + 1) % beat_words
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
    beats. Each block of the stream, whose sections fill weight memories and list tables only, has
    its own header, CRC-32 and padding. All checksums are the CRC-32 of `zlib`, over the words'
    little-endian bytes; a block's covers its header, too.

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
