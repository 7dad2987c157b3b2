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
    tails = [MapLayout(config=config, channels=c, height=1, width=1).tail for c in (1, 4)]
    assert tails == [1, 1]
    assert MapLayout(config=config, channels=5, height=1, width=1).tail == 0
    assert MapLayout(config=config, channels=9, height=1, width=1).tail == 1


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 28])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_pixels_of_a_packed_map_share_words_of_their_row(name, channels, width):
    config, height = CONFIGS[name], 5
    layout = MapLayout(config=config, channels=channels, height=height, width=width, packed=True)
    slot = 1 << (channels - 1).bit_length()
    pixels = max(1, config.act_word // slot)
    positions = np.random.default_rng(1).permutation(channels).astype(np.int32)
    places = layout.places(positions).reshape(channels, height, width)
    row, lane = np.divmod(places, config.lanes)
    bank, word, column = config.row_places(row)
    for c, y, x in np.ndindex(places.shape):
        position = x * slot + positions[c] if pixels > 1 else positions[c]
        first = y // config.clusters * layout.row_words
        first += x * layout.pixel_words if pixels == 1 else 0
        assert bank[c, y, x] == y % config.clusters
        assert word[c, y, x] == first + position // config.act_word
        assert column[c, y, x] * config.lanes + lane[c, y, x] == position % config.act_word
    assert 1 << layout.packing == pixels
    assert layout.row_words == -(-width // pixels) * layout.pixel_words
    assert row.max() < layout.rows
    assert len(np.unique(places)) == places.size


def test_channels_of_a_packed_pixels_slot_are_counted():
    config = AcceleratorConfig(lanes=2, act_word=16)
    layouts = [
        MapLayout(config=config, channels=c, height=1, width=3, packed=True) for c in range(1, 10)
    ]
    assert [layout.packing for layout in layouts] == [4, 3, 2, 2, 1, 1, 1, 1, 0]
    assert [layout.tail for layout in layouts] == [0, 0, 3, 0, 5, 6, 7, 0, 5]
    assert [layout.read_channels for layout in layouts] == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert [layout.bank_slots(0) for layout in layouts] == [16] * 4 + [32] * 4 + [48]


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
