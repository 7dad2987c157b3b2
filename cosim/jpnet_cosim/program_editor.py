"""Changes single words of a program image, with or without mending its checksums."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.image import (
    BLOCK_HEADER_WORDS,
    HEADER_WORDS,
    PACKING_HEADER_WORDS,
    ROW_MODULUS,
    SECTION_HEADER_WORDS,
    UNIT_WORDS,
    HeaderWord,
    Memory,
    decode_values,
    entry_words,
)
from jpnet_spec.instruction import FIELDS, INSTRUCTION_WORDS
from jpnet_spec.packed_lists import DecodedEntries, EntryDecoder, ListPacking, ListShape

__all__ = ["BlockPlace", "ProgramEditor", "SectionPlace"]

_STREAM = (HeaderWord.TOTAL_WORDS, HeaderWord.BLOCK_WORDS)
"""Where the first block begins, and its words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SectionPlace:
    """Where one section lies in a program image.

    Parameters
    ----------
    offset
        Its first word, the first of the two of its header.
    memory, wide, lane, cluster, group
        What it fills, as in `jpnet_spec.image.Section`.
    address
        First entry.
    words
        Words after the header, and after that of the packing.
    entries
        Its entries.
    packing, begins
        How weights are packed, and whether the section begins with a layer's lists.
    """

    offset: int
    memory: Memory
    wide: bool
    lane: int
    cluster: int | None
    group: int | None
    address: int
    words: int
    entries: int
    packing: ListPacking
    begins: bool

    @property
    def first(self) -> int:
        """The first word of its entries."""
        packing = PACKING_HEADER_WORDS if self.packing else 0
        return self.offset + SECTION_HEADER_WORDS + packing

    @property
    def end(self) -> int:
        """The word after its last one."""
        return self.first + self.words


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockPlace:
    """Where one block of the stream lies in a program image.

    Parameters
    ----------
    offset
        Its first word.
    end
        Its checksum's word.
    sections
        Its sections.
    """

    offset: int
    end: int
    sections: tuple[SectionPlace, ...]


class ProgramEditor:
    """A copy of a program image that tests spoil.

    Parameters
    ----------
    program : uint32, shape (words,)
        A valid image.
    """

    def __init__(self, program: NDArray[np.uint32]) -> None:
        self.words = program.astype(np.uint32, copy=True)
        self.sections = tuple(self._walk(HEADER_WORDS, int(self.words[HeaderWord.SECTIONS])))
        self._body_end = self.sections[-1].end
        self.blocks = tuple(self._walk_blocks())

    def _walk(self, offset: int, sections: int) -> Iterator[SectionPlace]:
        for _ in range(sections):
            first, second = int(self.words[offset]), int(self.words[offset + 1])
            memory, packing = Memory(first & 0x3), ListPacking(first >> 3 & 0x3)
            entries = second >> 16
            words = entries * entry_words(memory)
            if packing:
                words = int(self.words[offset + SECTION_HEADER_WORDS + 1]) * UNIT_WORDS
            place = SectionPlace(
                offset=offset,
                memory=memory,
                wide=bool(first >> 2 & 1),
                lane=first >> 8 & 0xFF,
                cluster=None if first >> 23 & 1 else first >> 16 & 0x7F,
                group=None if first >> 31 else first >> 24 & 0x7F,
                address=second & 0xFFFF,
                words=words,
                entries=entries,
                packing=packing,
                begins=bool(first >> 5 & 1),
            )
            yield place
            offset = place.end

    def _walk_blocks(self) -> Iterator[BlockPlace]:
        offset, words = (int(self.words[word]) for word in _STREAM)
        for _ in range(int(self.words[HeaderWord.BLOCKS])):
            following, sections = (int(self.words[offset + index]) for index in range(2))
            places = tuple(self._walk(offset + BLOCK_HEADER_WORDS, sections))
            yield BlockPlace(offset=offset, end=places[-1].end, sections=places)
            offset, words = offset + words, following

    def of(self, memory: Memory) -> list[SectionPlace]:
        """Return the sections of one memory."""
        return [place for place in self.sections if place.memory is memory]

    def values(self, place: SectionPlace) -> NDArray[np.uint32]:
        """Return what a section brings, as `jpnet_spec.image.decode_values` does."""
        if place.packing:
            unpacked = self.unpacked[place.offset]
            return (unpacked.rows % ROW_MODULUS << 8 | unpacked.weights).astype(np.uint32)
        words = self.words[place.first : place.end]
        return decode_values(words, place.memory, wide=place.wide)

    @cached_property
    def unpacked(self) -> dict[int, DecodedEntries]:
        """What the packed sections hold, by their first word, as it was when first asked for."""
        decoder, found = EntryDecoder(), {}
        blocks = (section for block in self.blocks for section in block.sections)
        for place in chain(self.sections, blocks):
            if not place.packing:
                continue
            third = int(self.words[place.first - PACKING_HEADER_WORDS])
            found[place.offset] = decoder.decode(
                self.words[place.first : place.end].astype("<u4").view("<u8"),
                ListShape(packing=place.packing, rows=third & 0xFFFF, columns=third >> 16 & 0xFF),
                entries=place.entries,
                begins=place.begins,
                code=third >> 24 & 0xF,
            )
        return found

    def instruction_word(self, instruction: int, word: int) -> int:
        """Return the image's word that holds a word of an instruction."""
        wanted = instruction * INSTRUCTION_WORDS + word
        for place in self.of(Memory.INSTRUCTION):
            if place.address <= wanted < place.address + place.entries:
                return place.first + (wanted - place.address) * entry_words(Memory.INSTRUCTION)
        raise ValueError(f"instruction must be one of the program's, not {instruction!r}")

    def set_field(self, instruction: int, name: str, value: int) -> "ProgramEditor":
        """Set a field of an instruction."""
        place = FIELDS[name]
        index = self.instruction_word(instruction, place.word)
        mask = 2**place.width - 1 << place.bit
        self.words[index] = int(self.words[index]) & ~mask | value << place.bit
        return self

    def field(self, instruction: int, name: str) -> int:
        """Return a field of an instruction."""
        place = FIELDS[name]
        word = self.words.item(self.instruction_word(instruction, place.word))
        return int(word) >> place.bit & (1 << place.width) - 1

    def flip(self, index: int, bit: int) -> "ProgramEditor":
        """Flip one bit of one word."""
        self.words[index] ^= np.uint32(1 << bit)
        return self

    def seal(self) -> "ProgramEditor":
        """Recompute all checksums."""
        header = self.words[: HeaderWord.CHECKSUM].astype("<u4").tobytes()
        self.words[HeaderWord.CHECKSUM] = zlib.crc32(header)
        bodies = [(HEADER_WORDS, self._body_end), *((b.offset, b.end) for b in self.blocks)]
        for first, end in bodies:
            self.words[end] = zlib.crc32(self.words[first:end].astype("<u4").tobytes())
        return self
