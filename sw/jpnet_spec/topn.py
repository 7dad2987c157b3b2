"""The top-N filter: which activations of a layer survive."""

from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.numbers import INT8_MAX

__all__ = ["SAMPLE_STRIDE_MAX", "ThresholdMode", "TopN", "winners_for_rate"]

SAMPLE_STRIDE_MAX = 256
"""Largest stride of the sampled threshold's subset."""


class ThresholdMode(IntEnum):
    """How a layer's threshold is found."""

    NONE = 0
    """Threshold 0: only exact zeros are dropped."""
    EXACT = 1
    """From the whole output tensor: never more than N winners."""
    SAMPLED = 2
    """From a fixed subset of the tensor: about N winners, known before the tensor is complete."""
    STATIC = 3
    """A constant found in training."""


def winners_for_rate(rate: float, elements: int) -> int:
    """Return ``ceil(rate * elements)``, the N of a winner rate.

    Raises
    ------
    ValueError
        If the rate is not within 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"winner rate must be between 0 and 1, not {rate!r}")
    # Through the decimal text, so that a rate of 0.12 on 300 elements gives 36 and not 37.
    exact = Fraction(repr(float(rate))) * elements
    return -(-exact.numerator // exact.denominator)


@dataclass(frozen=True, kw_only=True, slots=True)
class TopN:
    """A layer's activation filter: an element survives iff its magnitude exceeds the threshold.

    The threshold is the smallest magnitude t with ``count(|a| > t) <= N``, counted over all
    channels and positions of one image's output tensor before pooling. Elements tied at t lose.

    Parameters
    ----------
    mode
        Where the threshold comes from.
    winners
        N, at least 1; ignored by the modes NONE and STATIC.
    static_threshold
        0 to 127; the threshold of the mode STATIC.
    sample_stride
        2 to `SAMPLE_STRIDE_MAX`; the mode SAMPLED counts an element of channel c at row-major
        position p iff ``(c + p) % sample_stride == 0``.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    mode: ThresholdMode = ThresholdMode.NONE
    winners: int = 0
    static_threshold: int = 0
    sample_stride: int = 1

    def __post_init__(self) -> None:
        counted = self.mode in (ThresholdMode.EXACT, ThresholdMode.SAMPLED)
        if counted and self.winners < 1:
            raise ValueError(f"TopN.winners must be at least 1, not {self.winners!r}")
        if not 0 <= self.static_threshold <= INT8_MAX:
            raise ValueError(
                f"TopN.static_threshold must be between 0 and {INT8_MAX}, "
                f"not {self.static_threshold!r}"
            )
        if self.mode is ThresholdMode.SAMPLED and not 2 <= self.sample_stride <= SAMPLE_STRIDE_MAX:
            raise ValueError(
                f"TopN.sample_stride must be between 2 and {SAMPLE_STRIDE_MAX}, "
                f"not {self.sample_stride!r}"
            )

    def check_elements(self, elements: int) -> None:
        """Refuse more winners than the layer has elements.

        Raises
        ------
        ValueError
            If N is larger than `elements`.
        """
        counted = self.mode in (ThresholdMode.EXACT, ThresholdMode.SAMPLED)
        if counted and self.winners > elements:
            raise ValueError(
                f"TopN.winners must be at most the layer's {elements} elements, "
                f"not {self.winners!r}"
            )

    def sampled(self, channels: int, positions: int = 1) -> NDArray[np.bool_]:
        """Return which elements are counted, shape (channels, positions)."""
        index = np.arange(channels)[:, None] + np.arange(positions)[None, :]
        if self.mode is ThresholdMode.SAMPLED:
            counted: NDArray[np.bool_] = index % self.sample_stride == 0
            return counted
        return np.ones(index.shape, dtype=np.bool_)

    def counted_winners(self, channels: int, positions: int = 1) -> int:
        """Return the N that the counted elements are compared with.

        N itself, or for the mode SAMPLED ``ceil(N * counted / elements)``.
        """
        if self.mode is not ThresholdMode.SAMPLED:
            return self.winners
        counted = int(np.count_nonzero(self.sampled(channels, positions)))
        return -(-self.winners * counted // (channels * positions))

    def threshold(self, tensor: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return each image's threshold.

        Parameters
        ----------
        tensor : int8, shape (images, channels) or (images, channels, height, width)

        Returns
        -------
        int64, shape (images,)
            0 to 127.
        """
        images, channels = tensor.shape[:2]
        if self.mode is ThresholdMode.NONE:
            return np.zeros(images, dtype=np.int64)
        if self.mode is ThresholdMode.STATIC:
            return np.full(images, self.static_threshold, dtype=np.int64)
        magnitude = np.abs(tensor.reshape(images, channels, -1).astype(np.int16))
        positions = magnitude.shape[2]
        counted = magnitude[:, self.sampled(channels, positions)]  # (images, counted)
        winners = self.counted_winners(channels, positions)
        if winners >= counted.shape[1]:
            return np.zeros(images, dtype=np.int64)
        # The smallest t with count(|a| > t) <= N is the (N + 1)-th largest magnitude.
        place = counted.shape[1] - 1 - winners
        return np.partition(counted, place, axis=1)[:, place].astype(np.int64)

    @staticmethod
    def keep(tensor: NDArray[np.int8], threshold: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return the tensor with every element of magnitude at most its threshold set to 0."""
        limit = threshold.reshape((-1,) + (1,) * (tensor.ndim - 1))
        return np.where(np.abs(tensor.astype(np.int16)) > limit, tensor, np.int8(0))
