"""What a residual layer adds to its sums: another tensor, smaller and with more channels."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.numbers import MULTIPLIER_WIDTH

__all__ = ["Shortcut", "ShortcutKind"]


class ShortcutKind(StrEnum):
    """How a shortcut reaches a smaller map."""

    SUBSAMPLE = "subsample"
    """Every stride-th row and column."""
    AVERAGE = "average"
    """The sums of squares as wide as the stride; the multiplier divides by their area."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortcut:
    """A tensor that is added to a layer's sums before they are rounded.

    It is taken as its producer stores it, before the producer's filter: losers take part in no
    product, but in the addition. Rows and columns that fill no whole square of a shortcut that
    averages are left out.

    Parameters
    ----------
    input_shape
        Channels, height and width of the tensor.
    multiplier
        1 to 65535: what an element, or a sum of elements, counts in units of ``2**-shift``.
    kind
        How the map becomes smaller.
    stride
        Of the map, at least 1; with 1 the kind is SUBSAMPLE.
    first_channel
        Output channel of the tensor's first channel; channels around the tensor's add zeros.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    input_shape: tuple[int, int, int]
    multiplier: int
    kind: ShortcutKind = ShortcutKind.SUBSAMPLE
    stride: int = 1
    first_channel: int = 0

    def __post_init__(self) -> None:
        if len(self.input_shape) != 3 or min(self.input_shape) < 1:
            raise ValueError(
                f"Shortcut.input_shape must be channels, height and width of at least 1, "
                f"not {self.input_shape!r}"
            )
        limit = 2**MULTIPLIER_WIDTH - 1
        if not 1 <= self.multiplier <= limit:
            raise ValueError(
                f"Shortcut.multiplier must be between 1 and {limit}, not {self.multiplier!r}"
            )
        if self.stride < 1 or self.first_channel < 0:
            raise ValueError(
                f"Shortcut.stride must be at least 1 and first_channel at least 0, "
                f"not {self.stride!r} and {self.first_channel!r}"
            )
        averages = self.kind is ShortcutKind.AVERAGE
        if averages and not 1 < self.stride <= min(self.input_shape[1:]):
            raise ValueError(
                f"Shortcut.stride must be between 2 and {min(self.input_shape[1:])} "
                f"to average, not {self.stride!r}"
            )

    @property
    def output_size(self) -> tuple[int, int]:
        """Rows and columns of what is added."""
        _, height, width = self.input_shape
        if self.kind is ShortcutKind.AVERAGE:
            return height // self.stride, width // self.stride
        return -(-height // self.stride), -(-width // self.stride)

    def check_sums(self, sums_shape: tuple[int, ...]) -> None:
        """Refuse sums of another map, or of fewer channels.

        Raises
        ------
        ValueError
            If the shortcut does not fit.
        """
        channels = self.first_channel + self.input_shape[0]
        if sums_shape[1:] != self.output_size or sums_shape[0] < channels:
            raise ValueError(
                f"shortcut must give maps of {sums_shape[1:]} within {sums_shape[0]} channels, "
                f"not of {self.output_size} within {channels}"
            )

    def addend(self, tensor: NDArray[np.int8], channels: int) -> NDArray[np.int64]:
        """Return what is multiplied and added.

        Parameters
        ----------
        tensor : int8, shape (images, *input_shape), -127 to 127
        channels
            Of the layer's sums.

        Returns
        -------
        int64, shape (images, channels, *output_size)
        """
        rows, columns = self.output_size
        maps = tensor.astype(np.int64)
        if self.kind is ShortcutKind.AVERAGE:
            whole = maps[:, :, : rows * self.stride, : columns * self.stride]
            squares = whole.reshape(*maps.shape[:2], rows, self.stride, columns, self.stride)
            maps = squares.sum(axis=(3, 5))
        else:
            maps = maps[:, :, :: self.stride, :: self.stride]
        made = np.zeros((len(maps), channels, rows, columns), dtype=np.int64)
        made[:, self.first_channel : self.first_channel + maps.shape[1]] = maps
        return made
