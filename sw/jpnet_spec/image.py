"""The program image: what the accelerator's loader reads from memory."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.instruction import FORMAT_VERSION
from jpnet_spec.registers import ID_VALUE

__all__ = ["HEADER_WORDS", "HeaderWord", "Memory", "Section", "build_image"]

HEADER_WORDS = 16
"""32-bit words of the header."""


class HeaderWord(IntEnum):
    """Position of each header word; the others are reserved and 0."""

    MAGIC = 0
    """`jpnet_spec.registers.ID_VALUE`."""
    VERSION = 1
    """`jpnet_spec.instruction.FORMAT_VERSION`."""
    CONFIG = 2
    """`AcceleratorConfig.config_hash`."""
    TOTAL_WORDS = 3
    """Words of the whole image: header, sections, body checksum, zero padding to whole beats."""
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
    CHECKSUM = 15
    """CRC-32 of header words 0 to 14."""


class Memory(IntEnum):
    """Memories that a section fills."""

    WEIGHT = 0
    """Weight entries of a lane, one word each."""
    POINTER = 1
    """List table of a lane, one word each."""
    PARAM = 2
    """Channel parameters of a drain lane, three words each: bias, multipliers, phase."""
    INSTRUCTION = 3
    """Instruction words."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Section:
    """Consecutive words of one memory.

    In the image: word 0 is ``memory | lane << 8 | cluster << 16 | group << 24 |
    all_groups << 31``, word 1 is ``address | count << 16`` with the count in entries, then the
    entries' words.

    Parameters
    ----------
    memory
        Which memory.
    lane, cluster, group
        Whose; a group of ``None`` means all groups of the cluster.
    address
        First entry (for instructions: first 32-bit word).
    words : uint32, shape (entries * words per entry,)
    """

    memory: Memory
    lane: int = 0
    cluster: int = 0
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
        first = int(self.memory) | self.lane << 8 | self.cluster << 16 | group
        second = self.address | self.entries << 16
        return np.concatenate([np.array([first, second], dtype=np.uint32), self.words])


def build_image(
    config: AcceleratorConfig,
    sections: Sequence[Section],
    *,
    instructions: int,
    input_base: int,
    input_rows: int,
    result_base: int,
    result_rows: int,
) -> NDArray[np.uint32]:
    """Assemble header, sections and checksums.

    The body (all sections) is followed by its CRC-32 and by zero words up to a whole number of
    beats. Both checksums are the CRC-32 of `zlib`, over the words' little-endian bytes.
    """
    body = np.concatenate([section.encode() for section in sections])
    checksum = np.array([zlib.crc32(body.astype("<u4").tobytes())], dtype=np.uint32)
    used = HEADER_WORDS + len(body) + 1
    beat_words = max(config.beat_bytes // 4, 1)
    total = -(-used // beat_words) * beat_words
    header = np.zeros(HEADER_WORDS, dtype=np.uint32)
    header[HeaderWord.MAGIC] = ID_VALUE
    header[HeaderWord.VERSION] = FORMAT_VERSION
    header[HeaderWord.CONFIG] = config.config_hash
    header[HeaderWord.TOTAL_WORDS] = total
    header[HeaderWord.SECTIONS] = len(sections)
    header[HeaderWord.INSTRUCTIONS] = instructions
    header[HeaderWord.INPUT_BASE] = input_base
    header[HeaderWord.INPUT_ROWS] = input_rows
    header[HeaderWord.RESULT_BASE] = result_base
    header[HeaderWord.RESULT_ROWS] = result_rows
    header[HeaderWord.CHECKSUM] = zlib.crc32(header[: HeaderWord.CHECKSUM].astype("<u4").tobytes())
    padding = np.zeros(total - used, dtype=np.uint32)
    return np.concatenate([header, body, checksum, padding])
