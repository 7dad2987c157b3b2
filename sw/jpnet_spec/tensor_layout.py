"""Where the elements of a tensor lie in the activation memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig

__all__ = ["MapLayout", "TensorLayout", "VectorLayout"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorLayout:
    """A tensor as a sequence of rows, for fully connected layers.

    A place is ``row * lanes + lane``, counted from the tensor's base. Neighbouring rows lie in
    neighbouring banks, see `AcceleratorConfig.row_places`.

    Parameters
    ----------
    config
        The accelerator.
    channels
        Elements; channel and element are the same.
    """

    config: AcceleratorConfig
    channels: int

    @property
    def channel_rows(self) -> int:
        """Rows of `lanes` channels."""
        return -(-self.channels // self.config.lanes)

    @property
    def rows(self) -> int:
        """Rows of the tensor in the order of the bus."""
        return self.channel_rows

    @property
    def bank_words(self) -> int:
        """Words that the tensor takes in every bank."""
        return self.config.bank_words(self.rows)

    def bank_slots(self, cluster: int) -> int:
        """Return how many activations a cluster reads."""
        return len(range(cluster, self.rows, self.config.clusters)) * self.config.lanes

    def places(self, positions: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the place of each element: the position of its channel."""
        return positions


@dataclass(frozen=True, kw_only=True, slots=True)
class MapLayout:
    """A tensor as pixels of whole words, for convolutions.

    Row y lies in bank ``y % clusters``; within the bank the channel at position c of pixel (y, x)
    lies in word ``(y // clusters * width + x) * pixel_words + c // act_word``, slot ``c %
    act_word``. A place is, as of a vector, ``row * lanes + lane``, with the rows that
    `AcceleratorConfig.row_places` puts there.

    Parameters
    ----------
    config
        The accelerator.
    channels, height, width
        Shape of the tensor.
    """

    config: AcceleratorConfig
    channels: int
    height: int
    width: int

    @property
    def channel_rows(self) -> int:
        """Rows of `lanes` channels of one pixel."""
        return -(-self.channels // self.config.lanes)

    @property
    def pixel_words(self) -> int:
        """Words of one pixel."""
        return -(-self.channel_rows // self.config.act_columns)

    @property
    def tail_columns(self) -> int:
        """Columns used in a pixel's last word, 0 for all."""
        return self.channel_rows % self.config.act_columns

    @property
    def row_words(self) -> int:
        """Words of one row of pixels."""
        return self.width * self.pixel_words

    @property
    def bank_words(self) -> int:
        """Words that the tensor takes in the fullest bank."""
        return -(-self.height // self.config.clusters) * self.row_words

    @property
    def rows(self) -> int:
        """Rows of the tensor in the order of the bus, whole words of all banks."""
        return self.bank_words * self.config.clusters * self.config.act_columns

    def bank_slots(self, cluster: int) -> int:
        """Return how many activations a cluster reads, padding of pixels included."""
        pixel_rows = len(range(cluster, self.height, self.config.clusters))
        return pixel_rows * self.row_words * self.config.act_word

    def places(self, positions: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the place of each element.

        Parameters
        ----------
        positions : int32, shape (channels,)
            Of each channel.

        Returns
        -------
        int32, shape (channels * height * width,)
            In row-major order.
        """
        config = self.config
        c = positions[:, None, None].astype(np.int64)
        y = np.arange(self.height)[None, :, None]
        x = np.arange(self.width)[None, None, :]
        word = (y // config.clusters * self.width + x) * self.pixel_words + c // config.act_word
        column, lane = c % config.act_word // config.lanes, c % config.lanes
        row = (word * config.act_columns + column) * config.clusters + y % config.clusters
        places: NDArray[np.int32] = (row * config.lanes + lane).astype(np.int32).ravel()
        return places


TensorLayout = VectorLayout | MapLayout
"""Either of the two."""
