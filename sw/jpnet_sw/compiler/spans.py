"""What an instruction reads of its source: all of it, or consecutive words."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.network import INPUT, Layer
from jpnet_spec.tensor_layout import MapLayout, TensorLayout

__all__ = ["ReadWords", "Span"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Consecutive words: of each pixel for a convolution, of each bank otherwise.

    Parameters
    ----------
    first_word, words
        Counted from the pixel's first word, or from the tensor's in its bank.
    """

    first_word: int
    words: int

    @property
    def end_word(self) -> int:
        """The word after the last one."""
        return self.first_word + self.words


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadWords:
    """The words that a layer's spans divide, and the lists that belong to each of them.

    Parameters
    ----------
    layer
        The layer whose lists the lanes have.
    layout
        Of its source.
    """

    layer: Layer
    layout: TensorLayout

    @property
    def words(self) -> int:
        """Words of a pixel for a convolution, of the fullest bank otherwise."""
        if isinstance(self.layout, MapLayout) and self.layer.convolution is not None:
            return self.layout.pixel_words
        return self.layout.bank_words

    @property
    def together(self) -> int:
        """Words, from the first on, that no span may divide.

        A vector's words are alike; of a map that is read as one, those up to a word that is not
        full stay together. An image that is read while it comes is read by a single instruction.
        """
        if self.layer.convolution is not None:
            return 1
        if self.layer.inputs[0] == INPUT:
            return self.words
        if not isinstance(self.layout, MapLayout):
            return 1
        if self.layout.packing:
            return self.layout.row_words
        return self.layout.pixel_words if self.layout.tail else 1

    def is_last(self, span: Span | None) -> bool:
        """Return whether nothing is left to be read after a span."""
        return span is None or span.end_word == self.words

    def positions(self, span: Span | None) -> slice:
        """Return which input positions a span has: of channels, or of a bank's slots."""
        if span is None:
            return slice(0, self._positions)
        slots = self.layout.config.act_word
        return slice(span.first_word * slots, min(span.end_word * slots, self._positions))

    @property
    def _positions(self) -> int:
        if isinstance(self.layout, MapLayout) and self.layer.convolution is not None:
            return self.layout.read_channels
        return self.layout.bank_slots(0)

    def lists(self, starts: NDArray[np.int64], *, groups: int) -> NDArray[np.int64]:
        """Return how many lists a lane has of each piece that no span divides.

        Parameters
        ----------
        starts : int64, shape (lists + 1,)
            First entries of the lists of all of the source, and the end.
        groups
            Among how many groups the inputs are divided.

        Returns
        -------
        int64, shape (pieces,)
        """
        return self._by_piece(np.ones(len(starts) - 1, dtype=np.int64), groups)

    def sizes(self, starts: NDArray[np.int64], *, groups: int) -> NDArray[np.int64]:
        """Return how many weights a lane has of each piece, as `lists`."""
        return self._by_piece(np.diff(starts), groups)

    def _by_piece(self, values: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
        """Return the sums of the lists' values over each piece."""
        if self.layer.convolution is not None:
            phases = self.layer.convolution.window.stride**2
            values = values.reshape(phases, -(-self._positions // groups), -1).sum(axis=(0, 2))
        each = self.layout.config.act_word * self.together // groups
        padded = np.zeros(-(-self.words // self.together) * each, dtype=np.int64)
        padded[: len(values)] = values
        sums: NDArray[np.int64] = padded.reshape(-1, each).sum(axis=1)
        return sums
