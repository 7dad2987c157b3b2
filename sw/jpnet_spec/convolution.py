"""Exact two-dimensional convolution and the count of its products."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.window import Window

__all__ = ["Convolution"]

_CHUNK_VALUES = 2**20
"""Factors of products that are laid out at once, so that they stay in a core's caches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Convolution:
    """What a layer's kernels slide over and how; kernels are applied without flipping.

    Parameters
    ----------
    input_shape
        Channels, height and width.
    window
        Size, stride and padding of the kernels; padding is zeros.
    channel_groups
        Number of parts that input and output channels are divided into, in order; an output
        channel sees the input channels of its own part only.

    Raises
    ------
    ValueError
        If the groups do not divide the channels, or the window is larger than the padded map.
    """

    input_shape: tuple[int, int, int]
    window: Window
    channel_groups: int = 1

    def __post_init__(self) -> None:
        if len(self.input_shape) != 3 or min(self.input_shape) < 1:
            raise ValueError(
                f"Convolution.input_shape must be channels, height and width of at least 1, "
                f"not {self.input_shape!r}"
            )
        if self.channel_groups < 1 or self.input_shape[0] % self.channel_groups:
            raise ValueError(
                f"Convolution.channel_groups must divide {self.input_shape[0]} input channels, "
                f"not {self.channel_groups!r}"
            )
        self.window.output_size(*self.input_shape[1:])

    @property
    def output_size(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        return self.window.output_size(*self.input_shape[1:])

    def check_weight(self, weight: NDArray[np.int8]) -> None:
        """Refuse a weight tensor of another shape than (oc, ic / channel_groups, kh, kw).

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        wanted = (self.input_shape[0] // self.channel_groups, *self.window.size)
        if weight.ndim != 4 or len(weight) < 1 or weight.shape[1:] != wanted:
            shape = ", ".join(map(str, wanted))
            raise ValueError(f"weight must have shape (oc, {shape}), not {weight.shape}")
        if len(weight) % self.channel_groups:
            raise ValueError(
                f"Convolution.channel_groups must divide {len(weight)} output channels, "
                f"not {self.channel_groups!r}"
            )

    def sums(
        self, maps: NDArray[np.int8], weight: NDArray[np.int8], dtype: type[np.floating]
    ) -> NDArray[np.floating]:
        """Return the sums of products.

        Parameters
        ----------
        maps : int8, shape (images, *input_shape)
        weight : int8, shape (oc, ic / channel_groups, kh, kw)
        dtype
            Floating-point type that holds every partial sum exactly.

        Returns
        -------
        shape (images, rows, columns, oc)
            Integers in `dtype`.
        """
        values = prod((self.input_shape[0], *self.window.size, *self.output_size))
        step = max(1, _CHUNK_VALUES // values)
        by_group = weight.reshape(self.channel_groups, -1, prod(weight.shape[1:]))
        kernels = by_group.astype(dtype).transpose(0, 2, 1)
        sums: NDArray[np.floating] = np.empty(
            (len(maps), *self.output_size, len(weight)), dtype=dtype
        )
        for first in range(0, len(maps), step):
            chunk = maps[first : first + step]
            product = self._unfold(chunk, dtype) @ kernels
            # (positions, channel_groups, oc / channel_groups)
            sums[first : first + step] = product.transpose(1, 0, 2).reshape(
                len(chunk), *sums.shape[1:]
            )
        return sums

    def _unfold(self, maps: NDArray[np.int8], dtype: type[np.floating]) -> NDArray[np.floating]:
        padded: NDArray[np.floating] = self.window.pad(maps, fill=0).astype(dtype)
        taps = np.lib.stride_tricks.sliding_window_view(padded, self.window.size, axis=(2, 3))
        taps = taps[:, :, :: self.window.stride, :: self.window.stride]
        # (images, channel_groups, ic / channel_groups, rows, columns, *size)
        parts = taps.reshape(len(maps), self.channel_groups, -1, *taps.shape[2:])
        positions = len(maps) * prod(self.output_size)
        return parts.transpose(1, 0, 3, 4, 2, 5, 6).reshape(self.channel_groups, positions, -1)

    def reach(self, weight: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return how many products with a non-zero weight each input element takes part in.

        Taps that would fall outside the output are left out, so an element at an edge reaches
        fewer outputs than one in the middle.

        Parameters
        ----------
        weight : int8, shape (oc, ic / channel_groups, kh, kw)

        Returns
        -------
        int64, shape input_shape
        """
        by_group = weight.reshape(self.channel_groups, -1, *weight.shape[1:])
        living = np.count_nonzero(by_group, axis=1).reshape(-1, *self.window.size)
        reach = self.window.pad(np.zeros(self.input_shape, dtype=np.int64), fill=0)
        for row in range(self.window.size[0]):
            for column in range(self.window.size[1]):
                rows, columns = self.window.slices(row, column, self.output_size)
                reach[:, rows, columns] += living[:, row, column, None, None]
        top, _, left, _ = self.window.padding
        return reach[:, top : top + self.input_shape[1], left : left + self.input_shape[2]]
