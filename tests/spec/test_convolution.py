import numpy as np
import pytest

from jpnet_spec.convolution import Convolution
from jpnet_spec.window import Window


def slow_convolution(maps, weight, conv):
    """Plain Python integers, one product at a time; returns sums, pairs and reach."""
    ic, height, width = conv.input_shape
    rows, columns = conv.output_size
    top, _, left, _ = conv.window.padding
    ic_group, oc_group = ic // conv.channel_groups, len(weight) // conv.channel_groups
    sums = np.zeros((len(maps), len(weight), rows, columns), dtype=np.int64)
    pairs = np.zeros(len(maps), dtype=np.int64)
    reach = np.zeros(conv.input_shape, dtype=np.int64)
    for o, c, ky, kx in np.argwhere(weight):
        channel = o // oc_group * ic_group + c
        for y in range(rows):
            for x in range(columns):
                row, column = y * conv.window.stride + ky - top, x * conv.window.stride + kx - left
                if not (0 <= row < height and 0 <= column < width):
                    continue
                reach[channel, row, column] += 1
                met = maps[:, channel, row, column].astype(np.int64)
                sums[:, o, y, x] += met * int(weight[o, c, ky, kx])
                pairs += met != 0
    return sums, pairs, reach


def sparse(rng, shape, density):
    values = rng.integers(-127, 128, shape) * (rng.random(shape) < density)
    return values.astype(np.int8)


CASES = [
    # channels, size, kernel, stride, padding, groups, output channels
    ((1, 9, 9), (5, 5), 1, (0, 0, 0, 0), 1, 3),
    ((3, 8, 8), (5, 5), 1, (2, 2, 2, 2), 1, 4),
    ((4, 7, 10), (3, 3), 2, (1, 1, 1, 1), 2, 6),
    ((2, 23, 23), (11, 11), 4, (2, 2, 2, 2), 1, 3),
    ((6, 5, 5), (3, 3), 1, (1, 1, 1, 1), 6, 6),
    ((5, 4, 4), (1, 1), 1, (0, 0, 0, 0), 1, 7),
    ((3, 6, 6), (1, 1), 2, (0, 0, 0, 0), 1, 2),
    ((2, 9, 7), (4, 2), 2, (3, 0, 1, 1), 1, 3),
    ((1, 1, 1), (3, 3), 1, (1, 1, 1, 1), 1, 1),
    ((2, 3, 3), (11, 11), 4, (10, 10, 10, 10), 1, 2),
    ((3, 10, 10), (3, 3), 4, (0, 0, 0, 0), 3, 3),
]


def make(case):
    shape, size, stride, padding, groups, oc = case
    window = Window(size=size, stride=stride, padding=padding)
    conv = Convolution(input_shape=shape, window=window, channel_groups=groups)
    return conv, (oc, shape[0] // groups, *size)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_sums_and_reach_equal_plain_integer_loops(rng, case, density):
    conv, shape = make(case)
    weight = sparse(rng, shape, density)
    maps = sparse(rng, (3, *conv.input_shape), 0.5)
    sums, pairs, reach = slow_convolution(maps, weight, conv)
    for dtype in (np.float32, np.float64):
        found = conv.sums(maps, weight, dtype)
        assert np.array_equal(found.transpose(0, 3, 1, 2), sums)
    assert np.array_equal(conv.reach(weight), reach)
    assert np.array_equal((maps != 0).reshape(3, -1) @ conv.reach(weight).ravel(), pairs)


@pytest.mark.parametrize("sign", [-1, 1])
def test_extreme_values_stay_exact(sign):
    window = Window(size=(5, 5), padding=(2, 2, 2, 2))
    conv = Convolution(input_shape=(20, 6, 6), window=window)
    weight = np.full((2, 20, 5, 5), sign * 127, dtype=np.int8)
    maps = np.full((1, 20, 6, 6), 127, dtype=np.int8)
    assert np.array_equal(
        conv.sums(maps, weight, np.float32).transpose(0, 3, 1, 2),
        slow_convolution(maps, weight, conv)[0],
    )


def test_result_does_not_depend_on_how_images_are_grouped(rng):
    conv = Convolution(input_shape=(16, 24, 24), window=Window(size=(5, 5)))
    weight = sparse(rng, (4, 16, 5, 5), 0.5)
    maps = sparse(rng, (31, 16, 24, 24), 0.3)
    whole = conv.sums(maps, weight, np.float32)
    single = np.concatenate([conv.sums(image[None], weight, np.float32) for image in maps])
    assert np.array_equal(whole, single)


def test_reach_of_dense_weights_counts_only_products_inside_the_output():
    window = Window(size=(3, 3), padding=(1, 1, 1, 1))
    conv = Convolution(input_shape=(1, 4, 4), window=window)
    reach = conv.reach(np.ones((2, 1, 3, 3), dtype=np.int8))
    assert reach[0].tolist() == [
        [8, 12, 12, 8],
        [12, 18, 18, 12],
        [12, 18, 18, 12],
        [8, 12, 12, 8],
    ]


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (
            lambda: Convolution(input_shape=(1, 4, 4), window=Window(size=(5, 5))),
            "window of 5x5 must not be larger than the padded map of 4x4",
        ),
        (
            lambda: Convolution(
                input_shape=(3, 4, 4), window=Window(size=(1, 1)), channel_groups=2
            ),
            "Convolution.channel_groups must divide 3 input channels, not 2",
        ),
        (
            lambda: Convolution(input_shape=(3, 0, 4), window=Window(size=(1, 1))),
            "Convolution.input_shape must be channels, height and width of at least 1",
        ),
        (
            lambda: Convolution(input_shape=(3, 4, 4), window=Window(size=(3, 3))).check_weight(
                np.zeros((2, 3, 3, 2), dtype=np.int8)
            ),
            r"weight must have shape \(oc, 3, 3, 3\), not \(2, 3, 3, 2\)",
        ),
        (
            lambda: Convolution(
                input_shape=(4, 4, 4), window=Window(size=(3, 3)), channel_groups=2
            ).check_weight(np.zeros((3, 2, 3, 3), dtype=np.int8)),
            "Convolution.channel_groups must divide 3 output channels, not 2",
        ),
    ],
)
def test_geometry_that_does_not_fit_is_refused(make_it, message):
    with pytest.raises(ValueError, match=message):
        make_it()
