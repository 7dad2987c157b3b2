"""Packed weight lists: how a section of the program image holds them in fewer bits.

The entries of `FIELDS` lanes come side by side, and the lists of a layer follow each other in each
lane. A list has a place for each of `rows` accumulator rows; every `columns` lists, at the taps of
a kernel's row, its rows begin `rows` earlier, then at 0 again:

    first row of list i = -(i % columns) * rows

An entry is a weight of 8 bits and a field of a few bits, from which the decoder finds its row.

With runs (`ListPacking.RUN_LENGTH`) the field is the number of places without a weight before the
entry. Runs go on from list to list; one that is too long has entries of weight 0 in it. A field
has at most so many bits that a run ends in the same list or in the next one.

With blocks (`ListPacking.BLOCKS`) a list is cut into blocks of ``1 << code`` places, the last may
be shorter. Each has one entry, and the field, of `code` bits, is the weight's place in the block:
entry k lies at ``k << code | field``. All lanes of a section have the same code in the same list.
Behind the last entries of a list lie `CODE_BITS` bits with the code of the next one.

Rows of entries, the lanes' weights and then the lanes' fields, lie in units without gaps, least
significant bits first. What a section's last unit has left over is 0.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CODE_BITS",
    "FIELDS",
    "MOST_FIELD_BITS",
    "DecodedEntries",
    "EntryDecoder",
    "ListPacking",
    "ListShape",
    "PackedFields",
]

FIELDS = 4
"""Lanes whose entries come side by side."""

MOST_FIELD_BITS = 7
"""Bits of the longest field, and the largest code."""

CODE_BITS = 4
"""Bits of a list's code."""

_WEIGHT_BITS = 8
_UNIT_BITS = 64


class ListPacking(IntEnum):
    """How the entries of a section of weights lie in the image."""

    NONE = 0
    """A row and a weight each, see `jpnet_spec.image.Section`."""
    RUN_LENGTH = 1
    """A run and a weight each."""
    BLOCKS = 2
    """A weight of each block, and its place in the block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListShape:
    """What the packed lists of a section have in common.

    Parameters
    ----------
    packing
        RUN_LENGTH or BLOCKS.
    rows
        Places of a list, 1 to 65535.
    columns
        Lists after which their rows begin at 0 again, 1 to 255.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    packing: ListPacking
    rows: int
    columns: int

    def __post_init__(self) -> None:
        for name, value, high in (("rows", self.rows, 65535), ("columns", self.columns, 255)):
            if not 1 <= value <= high:
                raise ValueError(f"ListShape.{name} must be from 1 to {high}, not {value!r}")

    @property
    def most_code(self) -> int:
        """The longest field of a run, or the largest code of a list."""
        most = self.rows.bit_length() - 1 if self.is_runs else (self.rows - 1).bit_length()
        return min(most, MOST_FIELD_BITS)

    @property
    def is_runs(self) -> bool:
        """Whether the fields are runs."""
        return self.packing is ListPacking.RUN_LENGTH

    def blocks(self, code: int) -> int:
        """Return the blocks of a list."""
        return (self.rows - 1 >> code) + 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PackedFields:
    """How a section's entries are packed.

    Parameters
    ----------
    shape
        Of the lists.
    begins
        Whether the section begins with the layer's first list; otherwise it goes on where the last
        packed section of the same lanes ended.
    code
        Of runs, the bits of a field; of blocks, the code of the list that the first entry is in.
    fields : uint8, shape (entries, lanes)
        Of each entry.
    codes : uint8, shape (entries,)
        The bits of each entry's field.
    trailing : int8, shape (entries,)
        The code that follows an entry, that of the next list, or -1.

    Raises
    ------
    ValueError
        If a code is too large, or a field does not fit its bits.
    """

    shape: ListShape
    begins: bool
    code: int
    fields: NDArray[np.uint8]
    codes: NDArray[np.uint8]
    trailing: NDArray[np.int8]

    def __post_init__(self) -> None:
        most = self.shape.most_code
        largest = int(max(self.code, self.codes.max(initial=0), self.trailing.max(initial=0)))
        if largest > most:
            raise ValueError(
                f"PackedFields.codes must be at most {most} in lists of {self.shape.rows} rows, "
                f"not {largest!r}"
            )
        if np.any(self.fields >> self.codes[:, None]):
            raise ValueError("PackedFields.fields must fit the bits that their codes tell")

    def piece(self, begin: int, end: int) -> "PackedFields":
        """Return the part from one entry up to another, which goes on with what was before it."""
        return PackedFields(
            shape=self.shape,
            begins=self.begins and begin == 0,
            code=int(self.codes[begin]),
            fields=self.fields[begin:end],
            codes=self.codes[begin:end],
            trailing=self.trailing[begin:end],
        )

    def pack(self, weights: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """Return the units.

        Parameters
        ----------
        weights : uint8, shape (entries, lanes)
            Two's complement.
        """
        codes = self.codes.astype(np.uint64)
        chunks = np.zeros(len(weights), dtype=np.uint64)
        for lane in range(weights.shape[1]):
            place = np.uint64(_WEIGHT_BITS * lane)
            chunks |= weights[:, lane].astype(np.uint64) << place
            offset = np.uint64(_WEIGHT_BITS * FIELDS) + codes * np.uint64(lane)
            chunks |= self.fields[:, lane].astype(np.uint64) << offset
        widths = self.widths
        trails = self.trailing >= 0
        last = np.where(trails, self.trailing, 0).astype(np.uint64)
        # Without a trailing code the width may be that of a whole unit, but then it shifts a 0.
        chunks |= last << np.where(trails, widths - CODE_BITS, 0).astype(np.uint64)
        ends = np.cumsum(widths)
        units = np.zeros(-(-int(ends[-1]) // _UNIT_BITS) + 1, dtype=np.uint64)
        number, offset = np.divmod(ends - widths, _UNIT_BITS)
        shift = offset.astype(np.uint64)
        np.bitwise_or.at(units, number, chunks << shift)
        spilled = (chunks >> np.uint64(1)) >> (np.uint64(_UNIT_BITS - 1) - shift)
        np.bitwise_or.at(units, number + 1, spilled)
        return units[:-1]

    @property
    def widths(self) -> NDArray[np.int64]:
        """Bits of each row of entries, int64."""
        codes = self.codes.astype(np.int64)
        return FIELDS * (_WEIGHT_BITS + codes) + CODE_BITS * (self.trailing >= 0)


class DecodedEntries(NamedTuple):
    """What a packed section holds.

    Parameters
    ----------
    rows : int64, shape (entries, FIELDS)
        Of each lane's entries.
    weights : uint8, shape (entries, FIELDS)
        Two's complement.
    widths : int64, shape (entries,)
        Bits of each row of entries, a code behind it included.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.uint8]
    widths: NDArray[np.int64]


class EntryDecoder:
    """Finds the entries of packed sections, one section after the other."""

    def __init__(self) -> None:
        self._places = np.zeros(FIELDS, dtype=np.int64)
        self._lists = np.zeros(FIELDS, dtype=np.int64)
        self._block = 0
        self._code = 0

    def decode(
        self,
        units: NDArray[np.uint64],
        shape: ListShape,
        *,
        entries: int,
        begins: bool,
        code: int,
    ) -> DecodedEntries:
        """Return what a section holds.

        Parameters
        ----------
        units : uint64
            Of the section, behind its headers.
        shape
            Of its lists.
        entries
            Of each lane.
        begins, code
            As in `PackedFields`.

        Raises
        ------
        ValueError
            If there are fewer or more units than the entries take.
        """
        if begins:
            self._places[:] = shape.rows - 1 if shape.is_runs else 0
            self._lists[:] = -1 if shape.is_runs else 0
            self._block, self._code = 0, code
        bits = np.unpackbits(units.astype("<u8").view(np.uint8), bitorder="little")
        widths, codes = self._walk(bits, shape, entries, code)
        ends = np.cumsum(widths)
        if len(units) != -(-int(ends[-1]) // _UNIT_BITS):
            raise ValueError(f"units must be as many as {ends[-1]} bits take, not {len(units)!r}")
        first = ends - widths
        weights, fields = (np.zeros((entries, FIELDS), dtype=np.int64) for _ in range(2))
        for lane in range(FIELDS):
            for bit in range(_WEIGHT_BITS):
                weights[:, lane] |= bits[first + _WEIGHT_BITS * lane + bit].astype(np.int64) << bit
            for bit in range(int(codes.max())):
                place = first + _WEIGHT_BITS * FIELDS + codes * lane + bit
                value = bits[np.minimum(place, len(bits) - 1)].astype(np.int64) << bit
                fields[:, lane] |= np.where(bit < codes, value, 0)
        rows = self._rows(shape, fields, codes)
        return DecodedEntries(rows, weights.astype(np.uint8), widths)

    def _walk(
        self, bits: NDArray[np.uint8], shape: ListShape, entries: int, code: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return each row of entries' bits, and the bits of its fields."""
        if shape.is_runs:
            same = np.full(entries, code)
            return FIELDS * (_WEIGHT_BITS + same), same
        found: list[tuple[int, int]] = []
        place, block = 0, self._block
        digits = 1 << np.arange(CODE_BITS)
        for _ in range(entries):
            width = FIELDS * (_WEIGHT_BITS + self._code)
            code = self._code
            block += 1
            if block == shape.blocks(self._code):
                block = 0
                trailing = bits[place + width : place + width + CODE_BITS]
                if len(trailing) < CODE_BITS:
                    raise ValueError("units must not end before the last code")
                self._code = int(trailing @ digits)
                width += CODE_BITS
            found.append((width, code))
            place += width
        widths, fields = np.array(found).T
        return widths, fields

    def _rows(
        self, shape: ListShape, fields: NDArray[np.int64], codes: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the rows of entries, and remember where the last ones are."""
        if shape.is_runs:
            reached = self._places + np.cumsum(fields + 1, axis=0)
            lists, places = self._lists + reached // shape.rows, reached % shape.rows
            self._lists, self._places = lists[-1], places[-1]
            return places - lists % shape.columns * shape.rows
        rows = np.empty_like(fields)
        for index, code in enumerate(codes.tolist()):
            first = (self._block << code) - self._lists % shape.columns * shape.rows
            rows[index] = first + fields[index]
            self._block += 1
            if self._block == shape.blocks(code):
                self._block = 0
                self._lists += 1
        return rows
