"""Number formats and the one definition of requantisation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "INT8_MAX",
    "MULTIPLIER_WIDTH",
    "SHIFT_MAX",
    "choose_multipliers",
    "quantise_unit_image",
    "requantise",
    "requantise_with_addend",
    "round_half_even_shift",
]

INT8_MAX = 127
"""Largest magnitude of an activation or weight; -128 never occurs."""

MULTIPLIER_WIDTH = 16
"""Bits of the unsigned per-channel requantisation multiplier."""

SHIFT_MAX = 40
"""Largest right shift: the width of a 24-bit sum times a 16-bit multiplier."""


def round_half_even_shift(value: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
    """Divide by ``2**shift``, rounding to nearest and ties to even.

    Parameters
    ----------
    value : int64, any shape
        Any value of magnitude below ``2**62``.
    shift : int
        0 to `SHIFT_MAX`.

    Raises
    ------
    ValueError
        If the shift is out of range.
    """
    if not 0 <= shift <= SHIFT_MAX:
        raise ValueError(f"shift must be between 0 and {SHIFT_MAX}, not {shift!r}")
    if shift == 0:
        return value.astype(np.int64)
    floor = value >> shift
    remainder = value - (floor << shift)
    half = np.int64(1) << np.int64(shift - 1)
    round_up = (remainder > half) | ((remainder == half) & ((floor & 1) == 1))
    rounded: NDArray[np.int64] = floor + round_up
    return rounded


def requantise(
    acc: NDArray[np.int64],
    multiplier: NDArray[np.uint16],
    negative_multiplier: NDArray[np.uint16],
    shift: int,
) -> NDArray[np.int8]:
    """Scale sums back to int8 and apply the activation function, with one rounding.

    ``clamp(round_half_even(acc * m * 2**-shift), -127, 127)`` where `m` is `multiplier` for
    ``acc >= 0`` and `negative_multiplier` otherwise: 0 for ReLU, the same multiplier for
    identity, a smaller one for leaky ReLU.

    Parameters
    ----------
    acc : int64, shape (..., channels)
        Exact sums including the bias, magnitude below ``2**31``.
    multiplier, negative_multiplier : uint16, shape (channels,)
    shift : int
        0 to `SHIFT_MAX`, shared by the layer.

    Returns
    -------
    int8, shape (..., channels)
        -127 to 127.
    """
    scale = np.where(acc < 0, negative_multiplier.astype(np.int64), multiplier.astype(np.int64))
    rounded = round_half_even_shift(acc * scale, shift)
    return np.clip(rounded, -INT8_MAX, INT8_MAX).astype(np.int8)


def requantise_with_addend(
    acc: NDArray[np.int64],
    addend: NDArray[np.int64],
    *,
    multiplier: NDArray[np.uint16],
    negative_multiplier: NDArray[np.uint16],
    addend_multiplier: int,
    shift: int,
) -> NDArray[np.int8]:
    """Scale sums and what is added to them back to int8, with one rounding.

    ``clamp(round_half_even((acc * m + addend * m_a) * 2**-shift), -127, 127)``; where the bracket
    is negative and the channel's `negative_multiplier` is 0, the result is 0 (ReLU).

    Parameters
    ----------
    acc : int64, shape (..., channels)
        Exact sums including the bias, magnitude below ``2**31``.
    addend : int64, shape (..., channels)
        Magnitude below ``2**31``.
    multiplier, negative_multiplier : uint16, shape (channels,)
        The latter 0, or the former.
    addend_multiplier
        0 to 65535, the same for all channels.
    shift : int
        0 to `SHIFT_MAX`, shared by the layer.

    Returns
    -------
    int8, shape (..., channels)
        -127 to 127.
    """
    total = acc * multiplier.astype(np.int64) + addend * addend_multiplier
    total = np.where((total < 0) & (negative_multiplier == 0), 0, total)
    rounded = round_half_even_shift(total, shift)
    return np.clip(rounded, -INT8_MAX, INT8_MAX).astype(np.int8)


def choose_multipliers(scales: Sequence[float]) -> tuple[NDArray[np.uint16], int]:
    """Choose multipliers and one shift so that ``m * 2**-shift`` is nearest to each scale.

    The largest scale gets all 16 bits. The caller must then use ``m * 2**-shift`` as the scale,
    so that nothing is approximated between training and hardware.

    Parameters
    ----------
    scales : sequence of float, shape (channels,)
        Positive and finite, the largest below ``2**15``.

    Returns
    -------
    multipliers : uint16, shape (channels,)
        At least 1.
    shift : int
        0 to `SHIFT_MAX`.

    Raises
    ------
    ValueError
        If a scale is not positive, not finite or too large.
    """
    wanted = np.asarray(scales, dtype=np.float64)
    if wanted.size == 0 or not np.all(np.isfinite(wanted)) or np.any(wanted <= 0):
        raise ValueError("scales must be positive and finite")
    largest = float(wanted.max())
    if largest >= 2.0 ** (MULTIPLIER_WIDTH - 1):
        raise ValueError(f"scales must be below {2 ** (MULTIPLIER_WIDTH - 1)}, not {largest!r}")
    shift = min(MULTIPLIER_WIDTH - int(np.floor(np.log2(largest))) - 1, SHIFT_MAX)
    limit = 2**MULTIPLIER_WIDTH - 1
    if round(largest * 2.0**shift) > limit:
        shift -= 1
    multipliers = np.clip(np.rint(wanted * 2.0**shift), 1, limit).astype(np.uint16)
    return multipliers, shift


def quantise_unit_image(pixels: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Map 8-bit pixels to activations 0..127, ties to even; a black pixel stays exactly 0.

    Parameters
    ----------
    pixels : uint8, any shape
        0 to 255.
    """
    return np.rint(pixels.astype(np.float64) * (INT8_MAX / 255.0)).astype(np.int8)
