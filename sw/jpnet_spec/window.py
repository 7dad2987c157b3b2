"""A rectangle that slides over feature maps: what convolution and pooling share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Window"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Size, stride and padding of a convolution's kernel or of a pooling window.

    Output position ``(y, x)`` covers the input rows ``y * stride - top`` onwards, ``size[0]`` of
    them, and the columns likewise. Rows and columns outside the map contribute nothing: they are
    zeros to a sum and absent from a maximum. The last window is the last one that fits into the
    padded map; rounding up, as frameworks offer it, is more padding at the bottom and the right.

    Parameters
    ----------
    size
        Rows and columns, at least 1.
    stride
        In both directions, at least 1.
    padding
        Rows and columns added at top, bottom, left and right; each smaller than the window, so
        that every window covers at least one element of the map.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    size: tuple[int, int]
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"Window.size must be two extents of at least 1, not {self.size!r}")
        if self.stride < 1:
            raise ValueError(f"Window.stride must be at least 1, not {self.stride!r}")
        rows, columns = self.size
        limits = (rows, rows, columns, columns)
        if len(self.padding) != 4 or not all(
            0 <= extent < limit for extent, limit in zip(self.padding, limits, strict=True)
        ):
            raise ValueError(
                f"Window.padding must be four extents below the size {self.size!r}, "
                f"not {self.padding!r}"
            )

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the output.

        Raises
        ------
        ValueError
            If the window is larger than the padded map.
        """
        top, bottom, left, right = self.padding
        free = (height + top + bottom - self.size[0], width + left + right - self.size[1])
        if min(free) < 0:
            raise ValueError(
                f"window of {self.size[0]}x{self.size[1]} must not be larger than the padded map "
                f"of {height + top + bottom}x{width + left + right}"
            )
        return free[0] // self.stride + 1, free[1] // self.stride + 1

    def pad(self, maps: NDArray, fill: int) -> NDArray:
        """Return maps with the padding around them.

        Parameters
        ----------
        maps : shape (..., height, width)
        fill
            Value of the added elements.
        """
        top, bottom, left, right = self.padding
        if not any(self.padding):
            return maps
        around = ((0, 0),) * (maps.ndim - 2) + ((top, bottom), (left, right))
        return np.pad(maps, around, constant_values=fill)

    def slices(self, row: int, column: int, output_size: tuple[int, int]) -> tuple[slice, slice]:
        """Return the padded map's rows and columns that one tap meets over all outputs.

        Parameters
        ----------
        row, column
            Of the tap within the window.
        output_size
            From `output_size`.
        """
        return (
            slice(row, row + (output_size[0] - 1) * self.stride + 1, self.stride),
            slice(column, column + (output_size[1] - 1) * self.stride + 1, self.stride),
        )
