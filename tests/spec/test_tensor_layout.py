import numpy as np
import pytest

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.tensor_layout import MapLayout, VectorLayout

CONFIGS = {
    "edge16": AcceleratorConfig(),
    "one-column": AcceleratorConfig(lanes=8, clusters=2),
    "one-cluster": AcceleratorConfig(lanes=1, clusters=1, act_word=16),
}
SHAPES = [(1, 1, 1), (1, 28, 28), (9, 5, 3), (20, 12, 7), (33, 4, 4)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", list(CONFIGS))
def test_elements_of_a_map_lie_in_their_rows_bank_pixels_first(name, shape):
    config, (channels, height, width) = CONFIGS[name], shape
    layout = MapLayout(config=config, channels=channels, height=height, width=width)
    positions = np.random.default_rng(1).permutation(channels).astype(np.int32)
    places = layout.places(positions).reshape(shape)
    row, lane = np.divmod(places, config.lanes)
    bank, word, column = config.row_places(row)
    slot = column * config.lanes + lane
    pixel_words = -(-(-(-channels // config.lanes) * config.lanes) // config.act_word)
    for c, y, x in np.ndindex(shape):
        assert bank[c, y, x] == y % config.clusters
        pixel = y // config.clusters * width + x
        assert word[c, y, x] == pixel * pixel_words + positions[c] // config.act_word
        assert slot[c, y, x] == positions[c] % config.act_word
    assert row.max() < layout.rows
    assert word.max() == layout.bank_words - pixel_words + (channels - 1) // config.act_word
    assert len(np.unique(places)) == places.size


def test_columns_of_a_pixels_last_word_are_counted():
    config = CONFIGS["edge16"]
    tails = [MapLayout(config=config, channels=c, height=1, width=1).tail_columns for c in (1, 4)]
    assert tails == [1, 1]
    assert MapLayout(config=config, channels=5, height=1, width=1).tail_columns == 0
    assert MapLayout(config=config, channels=9, height=1, width=1).tail_columns == 1


def test_banks_of_a_map_hold_the_rows_that_exist():
    config = CONFIGS["edge16"]
    layout = MapLayout(config=config, channels=9, height=6, width=3)
    slots = [layout.bank_slots(cluster) for cluster in range(4)]
    assert slots == [2 * 3 * 16, 2 * 3 * 16, 3 * 16, 3 * 16]
    assert layout.bank_words == 2 * 3 * 2
    assert layout.rows == layout.bank_words * 4 * 2


def test_vector_is_in_the_order_of_its_positions():
    layout = VectorLayout(config=CONFIGS["edge16"], channels=37)
    positions = np.random.default_rng(1).permutation(37).astype(np.int32)
    assert np.array_equal(layout.places(positions), positions)
    assert (layout.rows, layout.bank_words) == (10, 2)
    assert [layout.bank_slots(cluster) for cluster in range(4)] == [12, 12, 8, 8]
