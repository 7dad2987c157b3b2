import numpy as np
import pytest

from jpnet_spec.pooling import max_pool
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_spec.window import Window

WINDOWS = [
    Window(size=(2, 2), stride=2),
    Window(size=(2, 2), stride=1),
    Window(size=(3, 3), stride=2),
    Window(size=(3, 3), stride=1, padding=(1, 1, 1, 1)),
    Window(size=(3, 3), stride=2, padding=(1, 1, 1, 1)),
    Window(size=(3, 2), stride=2, padding=(0, 2, 1, 0)),
    Window(size=(7, 7)),
]


def slow_pool(image, window):
    height, width = image.shape
    rows, columns = window.output_size(height, width)
    top, _, left, _ = window.padding
    made = []
    for y in range(rows):
        for x in range(columns):
            ys = range(y * window.stride - top, y * window.stride - top + window.size[0])
            xs = range(x * window.stride - left, x * window.stride - left + window.size[1])
            inside = [
                int(image[j, i]) for j in ys for i in xs if 0 <= j < height and 0 <= i < width
            ]
            made.append(max(inside))
    return np.array(made).reshape(rows, columns)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("low", [-127, 0])
def test_pooling_equals_the_maximum_of_each_window(rng, window, low):
    tensor = rng.integers(low, 128, (2, 3, 7, 7)).astype(np.int8)
    found = max_pool(tensor, window)
    for image in range(2):
        for channel in range(3):
            assert np.array_equal(found[image, channel], slow_pool(tensor[image, channel], window))


def test_padding_does_not_beat_negative_elements():
    window = Window(size=(3, 3), stride=2, padding=(1, 1, 1, 1))
    assert max_pool(np.full((1, 1, 4, 4), -127, dtype=np.int8), window).tolist() == [
        [[[-127, -127], [-127, -127]]]
    ]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("low", [-127, 0])
@pytest.mark.parametrize("winners", [1, 10, 60])
def test_filtering_after_pooling_equals_filtering_before(rng, window, low, winners):
    tensor = rng.integers(low, 128, (20, 2, 7, 7)).astype(np.int8)
    top_n = TopN(mode=ThresholdMode.EXACT, winners=winners)
    threshold = top_n.threshold(tensor)
    before = max_pool(top_n.keep(tensor, threshold), window)
    assert np.array_equal(top_n.keep(max_pool(tensor, window), threshold), before)
