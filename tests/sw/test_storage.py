import numpy as np
import pytest

from jpnet_spec.block_rows import BlockRows
from jpnet_spec.network import IntegerNetwork, Layer
from jpnet_sw.storage import Encoding, run_length_entries, storage_bytes, weight_bits


def run_length_decoded(weight, run_bits):
    """Encode entry by entry and decode again: what the count must agree with."""
    entries, run = [], 0
    for value in weight.reshape(-1).tolist():
        if value == 0:
            run += 1
            continue
        while run >= 1 << run_bits:
            entries.append(((1 << run_bits) - 1, 0))
            run -= 1 << run_bits
        entries.append((run, value))
        run = 0
    out = []
    for zeros, value in entries:
        out += [0] * zeros + [value]
    return entries, np.array(out + [0] * (weight.size - len(out)), np.int8).reshape(weight.shape)


@pytest.mark.parametrize("density", [0.0, 0.01, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("run_bits", [1, 4])
def test_run_length_entries_decode_to_the_weights(rng, density, run_bits):
    weight = (rng.integers(1, 128, (9, 70)) * (rng.random((9, 70)) < density)).astype(np.int8)
    entries, decoded = run_length_decoded(weight, run_bits)
    assert np.array_equal(decoded, weight)
    assert run_length_entries(weight, run_bits) == len(entries)


def test_bits_of_a_small_matrix():
    weight = np.zeros((2, 64), np.int8)
    weight[0, [0, 32]] = 1
    weight[1, 20] = -1
    assert weight_bits(weight) == {
        Encoding.DENSE: 128 * 8,
        Encoding.EXPLICIT: 3 * (8 + 6) + 2 * 2,
        # Runs of 0, 31 and 51 zeros: 1, 2 and 4 entries.
        Encoding.RUN_LENGTH: 7 * 12,
        # Two blocks of 32 and one of 64, and which of two sizes.
        Encoding.BLOCKS: 2 * (8 + 5) + (8 + 6) + 2,
    }


def test_blocks_need_fewer_bits_than_an_explicit_column_where_rows_are_regular(rng):
    weight = np.zeros((32, 1024), np.int8)
    places = rng.integers(0, 16, (32, 64)) + 16 * np.arange(64)
    np.put_along_axis(weight, places, rng.integers(1, 128, (32, 64)).astype(np.int8), axis=1)
    bits = weight_bits(weight)
    assert BlockRows.encode(weight).code_bits == 0
    assert bits[Encoding.BLOCKS] == 32 * 64 * 12
    assert bits[Encoding.BLOCKS] < bits[Encoding.EXPLICIT]


def test_a_network_takes_whole_bytes_for_each_layer(rng):
    weight = np.zeros((3, 5), np.int8)
    weight[0, 0] = 7
    layer = Layer(
        name="fc",
        inputs=("input",),
        weight=weight,
        bias=np.zeros(3, np.int32),
        multiplier=np.full(3, 2**15, np.uint16),
        negative_multiplier=np.zeros(3, np.uint16),
        shift=23,
    )
    network = IntegerNetwork(name="x", input_shape=(5,), layers=(layer,))
    # 8 + 3 bits of column, 3 row ends of 1 bit; 8 + 4; 3 blocks of 8 with 3 bits of offset.
    assert storage_bytes(network) == {"dense": 15, "explicit": 2, "run_length": 2, "blocks": 5}
