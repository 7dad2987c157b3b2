from fractions import Fraction

import numpy as np
import pytest

from jpnet_spec.numbers import (
    INT8_MAX,
    choose_multipliers,
    quantise_unit_image,
    requantise,
    round_half_even_shift,
)


def exact_round(value: int, shift: int) -> int:
    return round(Fraction(value, 2**shift))


@pytest.mark.parametrize("shift", [0, 1, 2, 7, 23, 40])
def test_rounding_equals_exact_fractions(shift):
    rng = np.random.default_rng(shift)
    random = rng.integers(-(2**40), 2**40, 500)
    ties = rng.integers(-500, 500, 200) * 2**shift + (2**shift >> 1)
    values = np.concatenate([random, ties, ties - 1, ties + 1, [0]])
    expected = [exact_round(int(value), shift) for value in values]
    assert round_half_even_shift(values, shift).tolist() == expected


@pytest.mark.parametrize("shift", [-1, 41])
def test_shift_out_of_range_is_refused(shift):
    with pytest.raises(ValueError, match="shift must be between 0 and 40"):
        round_half_even_shift(np.array([1]), shift)


def test_requantise_never_gives_minus_128():
    acc = np.array([[-(2**23), -1, 0, 1, 2**23 - 1]]).T
    full = np.array([65535], dtype=np.uint16)
    assert requantise(acc, full, full, 16).ravel().tolist() == [-127, -1, 0, 1, 127]


def test_negative_multiplier_zero_is_relu_and_fraction_is_leaky():
    acc = np.array([[-1000], [1000]])
    m = np.array([1024], dtype=np.uint16)
    zero, tenth = np.array([0], dtype=np.uint16), np.array([102], dtype=np.uint16)
    assert requantise(acc, m, zero, 14).ravel().tolist() == [0, 62]
    assert requantise(acc, m, tenth, 14).ravel().tolist() == [-6, 62]


def test_multipliers_use_all_bits_and_stay_within_half_a_step():
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.uniform(-5, -2, 100)
    multipliers, shift = choose_multipliers(scales)
    assert 2**15 <= multipliers.max() < 2**16
    assert np.all(np.abs(multipliers - scales * 2.0**shift) <= 0.5)


def test_scale_just_below_a_power_of_two_does_not_overflow():
    multipliers, shift = choose_multipliers([1.9999999])
    assert (multipliers[0], shift) == (32768, 14)


@pytest.mark.parametrize("scales", [[], [0.0], [-1.0], [float("nan")], [float("inf")]])
def test_unusable_scales_are_refused(scales):
    with pytest.raises(ValueError, match="scales must be positive and finite"):
        choose_multipliers(scales)


def test_pixels_map_black_to_zero_and_white_to_the_maximum():
    pixels = np.arange(256, dtype=np.uint8)
    acts = quantise_unit_image(pixels)
    assert acts.dtype == np.int8
    assert (acts[0], acts[255]) == (0, INT8_MAX)
    assert np.all(np.diff(acts.astype(int)) >= 0)
