"""Packed rows of regular blocks: at most one weight per block, found by a shift and an or.

Row r is cut into blocks of ``1 << code[r]`` columns; the last may be shorter. Each block has an
entry, in order: the weight's 8 bits (two's complement, least significant bit first), then
``code[r]`` bits of its offset in the block, likewise. A block without a weight has weight 0 and
offset 0. Entries follow each other without gaps, row after row; so entry k of row r begins at bit
``start(r) + k * (8 + code[r])``, and its column is ``k << code[r] | offset``. Any entry is decoded
alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.artefact import ArtefactError, read_artefact, write_artefact

__all__ = ["WEIGHT_BITS", "BlockRows", "largest_codes", "load_block_rows", "save_block_rows"]

WEIGHT_BITS = 8
"""Bits of a stored weight."""

_KIND = "block-rows"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BlockRows:
    """A weight matrix in packed blocks.

    Parameters
    ----------
    columns
        Length of a row, at least 1.
    codes : uint8, shape (rows,)
        Binary logarithm of each row's block size; a block is shorter than two rows.
    bits : uint8
        The bit stream, eight bits a byte, least significant bit first, padded with zeros.

    Raises
    ------
    ValueError
        If the stream does not have the length that columns and codes ask for, or a code is too
        large.
    """

    columns: int
    codes: NDArray[np.uint8]
    bits: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.columns < 1:
            raise ValueError(f"BlockRows.columns must be at least 1, not {self.columns!r}")
        most = (self.columns - 1).bit_length()
        if self.codes.ndim != 1 or np.any(self.codes > most):
            raise ValueError(
                f"BlockRows.codes must be one number up to {most} for each row, "
                f"not {self.codes.tolist()!r}"
            )
        wanted = -(-self.size_bits // 8)
        if self.bits.shape != (wanted,):
            raise ValueError(f"BlockRows.bits must be {wanted} bytes, not {self.bits.shape!r}")

    @classmethod
    def encode(
        cls, weight: NDArray[np.int8], codes: NDArray[np.uint8] | None = None
    ) -> "BlockRows":
        """Pack a weight matrix.

        Parameters
        ----------
        weight : int8, shape (rows, ...)
            A row is everything behind the first axis, row-major.
        codes : uint8, shape (rows,)
            Block sizes; None takes the largest for each row that keep its weights apart.

        Raises
        ------
        ValueError
            If a block would hold two weights.
        """
        rows = weight.reshape(len(weight), -1)
        found = largest_codes(rows) if codes is None else codes.astype(np.uint8)
        stream = []
        for index, row in enumerate(rows):
            stream.append(_encode_row(row, int(found[index]), index))
        bits = np.packbits(np.concatenate(stream), bitorder="little")
        return cls(columns=rows.shape[1], codes=found, bits=bits)

    @property
    def entries(self) -> NDArray[np.int64]:
        """Entries of each row, int64: its blocks."""
        return -(-self.columns // (1 << self.codes.astype(np.int64)))

    @property
    def starts(self) -> NDArray[np.int64]:
        """First bit of each row, and the end of the last; int64, shape (rows + 1,)."""
        lengths = self.entries * (WEIGHT_BITS + self.codes.astype(np.int64))
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @property
    def size_bits(self) -> int:
        """Length of the stream without its padding; the codes are not in it."""
        return int(self.starts[-1])

    @property
    def code_bits(self) -> int:
        """Bits that tell one row's block size from those of the others."""
        return (len(np.unique(self.codes)) - 1).bit_length()

    def entry(self, row: int, index: int) -> tuple[int, int]:
        """Return column and weight of one entry, decoded alone.

        Raises
        ------
        IndexError
            If there is no such row or entry.
        """
        if not 0 <= row < len(self.codes) or not 0 <= index < self.entries[row]:
            raise IndexError(f"entry {index} of row {row} does not exist")
        code = int(self.codes[row])
        first = int(self.starts[row]) + index * (WEIGHT_BITS + code)
        value = self._field(first, WEIGHT_BITS + code)
        weight = value & (1 << WEIGHT_BITS) - 1
        signed = weight - (weight >> WEIGHT_BITS - 1 << WEIGHT_BITS)
        return index << code | value >> WEIGHT_BITS, signed

    def _field(self, first: int, width: int) -> int:
        low, high = first // 8, -(-(first + width) // 8)
        word = int.from_bytes(self.bits[low:high].tobytes(), "little")
        return word >> first - 8 * low & (1 << width) - 1

    def decode(self) -> NDArray[np.int8]:
        """Return the matrix, int8, shape (rows, columns)."""
        stream = np.unpackbits(self.bits, bitorder="little")
        weight = np.zeros((len(self.codes), self.columns), dtype=np.int8)
        for row, code in enumerate(self.codes.astype(np.int64)):
            part = stream[self.starts[row] : self.starts[row + 1]]
            fields = part.reshape(-1, WEIGHT_BITS + int(code)).astype(np.int64)
            values = fields[:, :WEIGHT_BITS] @ (1 << np.arange(WEIGHT_BITS))
            offsets = fields[:, WEIGHT_BITS:] @ (1 << np.arange(int(code)))
            living = values != 0
            columns = (np.arange(len(fields)) << code) + offsets
            weight[row, columns[living]] = values[living].astype(np.uint8).view(np.int8)
        return weight


def largest_codes(rows: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return the largest code of each row whose blocks hold at most one weight."""
    columns = rows.shape[1]
    codes = np.zeros(len(rows), dtype=np.uint8)
    for index, row in enumerate(rows):
        places = np.flatnonzero(row)
        code = (columns - 1).bit_length()
        while np.any(np.diff(places >> code) == 0):
            code -= 1
        codes[index] = code
    return codes


def _encode_row(row: NDArray[np.int8], code: int, index: int) -> NDArray[np.uint8]:
    """Return a row's bits, one a byte."""
    places = np.flatnonzero(row)
    blocks = places >> code
    if np.any(np.diff(blocks) == 0):
        raise ValueError(f"row {index}: every block of {1 << code} must hold at most one weight")
    fields = np.zeros((-(-len(row) // (1 << code)), WEIGHT_BITS + code), dtype=np.uint8)
    values = row[places].view(np.uint8).astype(np.int64) | (places & (1 << code) - 1) << WEIGHT_BITS
    fields[blocks] = values[:, None] >> np.arange(WEIGHT_BITS + code) & 1
    return fields.reshape(-1)


def save_block_rows(path: Path, matrices: Mapping[str, BlockRows]) -> str:
    """Write packed matrices by layer name and return the file's content hash."""
    header: dict[str, Any] = {
        "layers": [
            {"name": name, "columns": packed.columns, "rows": len(packed.codes)}
            for name, packed in matrices.items()
        ]
    }
    tensors = {f"{name}.codes": packed.codes for name, packed in matrices.items()}
    tensors |= {f"{name}.bits": packed.bits for name, packed in matrices.items()}
    return write_artefact(path, kind=_KIND, header=header, tensors=tensors)


def load_block_rows(path: Path) -> dict[str, BlockRows]:
    """Read what `save_block_rows` wrote.

    Raises
    ------
    ArtefactError
        If the file is missing, damaged or malformed.
    """
    header, tensors = read_artefact(path, kind=_KIND)
    try:
        return {
            str(entry["name"]): BlockRows(
                columns=int(entry["columns"]),
                codes=tensors[f"{entry['name']}.codes"],
                bits=tensors[f"{entry['name']}.bits"],
            )
            for entry in header["layers"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path}: malformed packed weights, {error}") from error
