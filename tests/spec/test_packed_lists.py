"""The format of packed lists."""

import numpy as np
import pytest

from jpnet_cosim.packed_samples import random_fields
from jpnet_spec.image import ROW_MODULUS, Memory, Section
from jpnet_spec.packed_lists import FIELDS, EntryDecoder, ListPacking, ListShape, PackedFields

RUNS, BLOCKS = ListPacking.RUN_LENGTH, ListPacking.BLOCKS


def fields_of(packing, rows, columns, fields, *, code, codes=None, trailing=None):
    count = len(fields)
    return PackedFields(
        shape=ListShape(packing=packing, rows=rows, columns=columns),
        begins=True,
        code=code,
        fields=np.repeat(np.array(fields, dtype=np.uint8)[:, None], FIELDS, axis=1),
        codes=np.array([code] * count if codes is None else codes, dtype=np.uint8),
        trailing=np.array([-1] * count if trailing is None else trailing, dtype=np.int8),
    )


def decoded(packed, weights):
    return EntryDecoder().decode(
        packed.pack(weights),
        packed.shape,
        entries=len(weights),
        begins=packed.begins,
        code=packed.code,
    )


def test_runs_go_on_from_list_to_list_and_columns_step_back():
    packed = fields_of(RUNS, 5, 2, [0, 3, 1, 3, 3], code=2)
    found = decoded(packed, np.zeros((5, FIELDS), dtype=np.uint8))
    # Places 0, 4, 6, 10 and 14 of lists of five: lists 0, 0, 1, 2 and 2.
    assert found.rows[:, 0].tolist() == [0, 4, 1 - 5, 0, 4]
    assert found.widths.tolist() == [FIELDS * 10] * 5


def test_blocks_have_a_weight_each_and_the_next_code_behind_them():
    packed = fields_of(
        BLOCKS, 5, 3, [1, 2, 3, 0], code=2, codes=[2, 2, 3, 3], trailing=[-1, 3, 3, 0]
    )
    found = decoded(packed, np.zeros((4, FIELDS), dtype=np.uint8))
    assert found.rows[:, 0].tolist() == [1, 4 + 2, 3 - 5, 0 - 10]
    assert found.widths.tolist() == [40, 44, 48, 48]


def test_bits_lie_where_the_format_says():
    packed = fields_of(RUNS, 8, 1, [5, 2], code=3)
    packed.fields[0] = [1, 2, 3, 4]
    weights = np.array([[0x11, 0x22, 0x33, 0x44], [0x55, 0x66, 0x77, 0x88]], dtype=np.uint8)
    first = 0x44332211 | (1 | 2 << 3 | 3 << 6 | 4 << 9) << 32
    second = 0x88776655 | (2 | 2 << 3 | 2 << 6 | 2 << 9) << 32
    bits = first | second << 44
    assert packed.pack(weights).tolist() == [bits & 2**64 - 1, bits >> 64]


@pytest.mark.parametrize("packing", [RUNS, BLOCKS])
@pytest.mark.parametrize("seed", range(5))
def test_pieces_go_on_where_the_last_one_ended(packing, seed):
    rng = np.random.default_rng(seed)
    rows, columns = int(rng.integers(1, 140)), int(rng.integers(1, 6))
    packed = random_fields(rng, packing, rows=rows, columns=columns, entries=80)
    count = len(packed.codes)
    weights = rng.integers(256, size=(count, FIELDS)).astype(np.uint8)
    whole, decoder = decoded(packed, weights), EntryDecoder()
    np.testing.assert_array_equal(whole.weights, weights)
    middle = int(rng.integers(1, count))
    for begin, end in ((0, middle), (middle, count)):
        piece = packed.piece(begin, end)
        found = decoder.decode(
            piece.pack(weights[begin:end]),
            piece.shape,
            entries=end - begin,
            begins=piece.begins,
            code=piece.code,
        )
        np.testing.assert_array_equal(found.rows, whole.rows[begin:end])
        np.testing.assert_array_equal(found.weights, weights[begin:end])


def test_a_section_tells_how_it_is_packed():
    packed = fields_of(RUNS, 24, 3, [1, 2, 3], code=3)
    values = np.arange(12, dtype=np.uint32).reshape(3, 4) % ROW_MODULUS
    words = Section(memory=Memory.WEIGHT, address=7, values=values, packed=packed).encode()
    assert words[0] == Memory.WEIGHT | RUNS << 3 | 1 << 5 | 1 << 31
    assert words[1] == 7 | 3 << 16
    assert words[2] == 24 | 3 << 16 | 3 << 24
    assert words[3] == len(packed.pack(values.astype(np.uint8))) == (len(words) - 4) // 2
    later = Section(memory=Memory.WEIGHT, values=values[1:], packed=packed.piece(1, 3)).encode()
    assert not later[0] >> 5 & 1


@pytest.mark.parametrize("units", [0, 1, 3])
def test_a_wrong_number_of_units_is_refused(units):
    shape = ListShape(packing=RUNS, rows=24, columns=1)
    with pytest.raises(ValueError, match=f"as many as 96 bits take, not {units}"):
        EntryDecoder().decode(
            np.zeros(units, dtype=np.uint64), shape, entries=3, begins=True, code=0
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "ListShape.rows must be from 1 to 65535, not 0"),
        ({"columns": 256}, "ListShape.columns must be from 1 to 255, not 256"),
        ({"code": 4, "fields": [0]}, "codes must be at most 3 in lists of 8 rows, not 4"),
        ({"fields": [8], "code": 3}, "fields must fit the bits that their codes tell"),
    ],
)
def test_what_cannot_be_packed_is_refused(change, message):
    made = {"rows": 8, "columns": 1, "fields": [7], "code": 3} | change
    with pytest.raises(ValueError, match=message):
        fields_of(RUNS, made["rows"], made["columns"], made["fields"], code=made["code"])
