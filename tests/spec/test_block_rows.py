import numpy as np
import pytest

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.block_rows import BlockRows, largest_codes, load_block_rows, save_block_rows


def blocked(rng, rows, columns, codes):
    """One weight in almost every block, over the full range."""
    weight = np.zeros((rows, columns), dtype=np.int8)
    for row, code in enumerate(map(int, codes)):
        for first in range(0, columns, 1 << code):
            if rng.random() < 0.9:
                place = first + rng.integers(min(1 << code, columns - first))
                weight[row, place] = rng.choice([-127, -1, 1, 5, 127])
    return weight


@pytest.mark.parametrize("columns", [1, 2, 7, 64, 125, 300])
def test_decoding_gives_back_every_weight(rng, columns):
    codes = rng.integers(0, (columns - 1).bit_length() + 1, 20).astype(np.uint8)
    weight = blocked(rng, 20, columns, codes)
    packed = BlockRows.encode(weight, codes)
    assert np.array_equal(packed.decode(), weight)
    entries = int((-(-columns // (1 << codes.astype(int)))).sum())
    assert packed.entries.sum() == entries
    assert packed.size_bits == int(((8 + codes.astype(int)) * packed.entries).sum())
    assert len(packed.bits) == -(-packed.size_bits // 8)


def test_any_entry_decodes_alone(rng):
    codes = np.array([0, 1, 3, 6, 7], dtype=np.uint8)
    weight = blocked(rng, 5, 100, codes)
    packed = BlockRows.encode(weight, codes)
    found = np.zeros_like(weight)
    for row in rng.permutation(5):
        for index in rng.permutation(packed.entries[row]):
            column, value = packed.entry(int(row), int(index))
            if value:
                found[row, column] = value
    assert np.array_equal(found, weight)
    with pytest.raises(IndexError, match=r"entry 1 of row 4 does not exist"):
        packed.entry(4, 1)


def test_largest_blocks_are_found_for_any_mask(rng):
    weight = (rng.integers(-127, 128, (30, 90)) * (rng.random((30, 90)) < 0.05)).astype(np.int8)
    weight[0] = 0
    weight[1] = 1
    packed = BlockRows.encode(weight)
    assert np.array_equal(packed.decode(), weight)
    assert packed.codes[0] == 7
    assert packed.codes[1] == 0
    for row, code in zip(weight[2:], packed.codes[2:], strict=True):
        places = np.flatnonzero(row)
        assert len(set(places >> code)) == len(places)
        assert code == 7 or len(set(places >> code + 1)) < len(places)


def test_convolution_rows_are_channels(rng):
    weight = np.zeros((3, 2, 5, 5), dtype=np.int8)
    weight[1, 1, 4, 4] = -127
    packed = BlockRows.encode(weight)
    assert packed.columns == 50
    assert np.array_equal(packed.decode().reshape(weight.shape), weight)
    assert packed.code_bits == 0


def test_two_weights_in_a_block_are_refused():
    with pytest.raises(ValueError, match=r"row 1: every block of 4 must hold at most one weight"):
        BlockRows.encode(
            np.array([[1, 0, 0, 0], [1, 1, 0, 0]], np.int8), np.array([2, 2], np.uint8)
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": 0}, r"columns must be at least 1, not 0"),
        ({"codes": np.array([3], np.uint8)}, r"codes must be one number up to 2 for each row"),
        ({"bits": np.zeros(3, np.uint8)}, r"bits must be 2 bytes, not \(3,\)"),
    ],
)
def test_streams_that_do_not_fit_are_refused(fields, message):
    good = {"columns": 4, "codes": np.array([2], np.uint8), "bits": np.zeros(2, np.uint8)}
    with pytest.raises(ValueError, match=message):
        BlockRows(**{**good, **fields})


def test_file_gives_back_the_matrices(rng, tmp_path):
    weight = blocked(rng, 4, 50, [2, 3, 4, 5])
    path = tmp_path / "packed.safetensors"
    save_block_rows(path, {"conv.1": BlockRows.encode(weight), "fc": BlockRows.encode(weight[:1])})
    found = load_block_rows(path)
    assert list(found) == ["conv.1", "fc"]
    assert np.array_equal(found["conv.1"].decode(), weight)
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    with pytest.raises(ArtefactError, match=r"altered"):
        load_block_rows(path)


def test_codes_fit_the_rows():
    assert largest_codes(np.array([[1], [0]], np.int8)).tolist() == [0, 0]
