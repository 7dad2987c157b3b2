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
    """A tensor as pixels of whole words, or several pixels in a word, for convolutions.

    Row y lies in bank ``y % clusters``; within the bank the channel at position c of pixel (y, x)
    lies in word ``(y // clusters * width + x) * pixel_words + c // act_word``, slot ``c %
    act_word``. A place is, as of a vector, ``row * lanes + lane``, with the rows that
    `AcceleratorConfig.row_places` puts there.

    In a packed map a pixel takes ``2**ceil(log2(channels))`` slots, and ``2**packing`` neighbours
    of a row share a word, the leftmost in the lowest slots; each row begins with a word of its own.
    Images are packed. What the drain writes is not: it stores rows of `lanes` channels.

    Parameters
    ----------
    config
        The accelerator.
    channels, height, width
        Shape of the tensor.
    packed
        Whether pixels that are small enough share words.
    """

    config: AcceleratorConfig
    channels: int
    height: int
    width: int
    packed: bool = False

    @property
    def packing(self) -> int:
        """Binary logarithm of the pixels in a word, 0 where a pixel takes whole words."""
        room = (self.config.act_word - 1).bit_length() - (self.channels - 1).bit_length()
        return max(0, room) if self.packed else 0

    @property
    def channel_rows(self) -> int:
        """Rows of `lanes` channels of one pixel."""
        return -(-self.channels // self.config.lanes)

    @property
    def read_channels(self) -> int:
        """Channel positions of a pixel that are read, padding included."""
        return self.channels if self.packing else self.channel_rows * self.config.lanes

    @property
    def pixel_words(self) -> int:
        """Words of one pixel; 1 where it shares a word."""
        return -(-self.channel_rows // self.config.act_columns)

    @property
    def tail(self) -> int:
        """Columns used in a pixel's last word, of a packed one the slots used; 0 for all."""
        if self.packing:
            return self.channels % (self.config.act_word >> self.packing)
        return self.channel_rows % self.config.act_columns

    @property
    def row_words(self) -> int:
        """Words of one row of pixels."""
        return -(-self.width >> self.packing) * self.pixel_words

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
        neighbours = 1 << self.packing
        word = y // config.clusters * self.row_words + x // neighbours * self.pixel_words
        word = word + c // config.act_word
        slot = x % neighbours * (config.act_word // neighbours) + c % config.act_word
        column, lane = slot // config.lanes, slot % config.lanes
        row = (word * config.act_columns + column) * config.clusters + y % config.clusters
        places: NDArray[np.int32] = (row * config.lanes + lane).astype(np.int32).ravel()
        return places


TensorLayout = VectorLayout | MapLayout
"""Either of the two."""
