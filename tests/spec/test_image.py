import zlib
from dataclasses import replace

import numpy as np
import pytest

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import (
    HEADER_WORDS,
    ROW_MODULUS,
    HeaderWord,
    Memory,
    Section,
    build_image,
    decode_values,
    entry_words,
    section_lanes,
)

CONFIG = AcceleratorConfig()
REGIONS = {"input_base": 3, "input_rows": 5, "result_base": 9, "result_rows": 2, "in_flight": 1}


def weights(rows, codes):
    return (np.asarray(rows) % ROW_MODULUS << 8 | np.asarray(codes)).astype(np.uint32)


def section(rng, memory, *, wide, count):
    lanes = section_lanes(memory, wide=wide)
    limit = {Memory.WEIGHT: 2**8, Memory.POINTER: 2**16}.get(memory, 2**32)
    columns = {Memory.PARAM: 3}.get(memory, lanes)
    values = rng.integers(limit, size=(count, columns), dtype=np.uint32)
    if memory is Memory.WEIGHT:
        most = 2**20 if wide else 128
        values = weights(rng.integers(-most, most, values.shape), values)
    return Section(memory=memory, wide=wide, values=values)


@pytest.mark.parametrize(
    ("memory", "wide"),
    [*((memory, False) for memory in Memory), (Memory.WEIGHT, True), (Memory.POINTER, True)],
)
@pytest.mark.parametrize("count", [1, 9])
def test_values_come_back(rng, memory, wide, count):
    part = section(rng, memory, wide=wide, count=count)
    words = part.encode()
    assert len(words) == 2 + count * entry_words(memory)
    values = decode_values(words[2:], memory, wide=wide)
    columns = part.values.shape[1]
    assert np.array_equal(values[:, :columns], part.values)
    assert not values[:, columns:].any()


def test_lanes_that_are_not_there_have_empty_fields():
    values = np.array([[0x0102, 0x0304]], dtype=np.uint32)
    part = Section(memory=Memory.WEIGHT, values=values)
    assert part.encode()[2:].tolist() == [0x0304_0102, 0]


def test_the_header_tells_whose_lists_they_are():
    values = np.zeros((3, 2), dtype=np.uint32)
    part = Section(
        memory=Memory.POINTER, wide=True, lane=2, cluster=None, group=1, address=7, values=values
    )
    assert part.encode()[:2].tolist() == [0x0180_0205, 0x0003_0007]


@pytest.mark.parametrize(("row", "fits"), [(127, True), (-128, True), (128, False), (-129, False)])
def test_a_row_that_does_not_fit_16_bits_is_refused(row, fits):
    part = Section(memory=Memory.WEIGHT, values=weights([[0, row]], [[1, 2]]))
    if fits:
        assert np.array_equal(
            decode_values(part.encode()[2:], Memory.WEIGHT, wide=False)[0, :2], part.values[0]
        )
        return
    with pytest.raises(ValueError, match=r"must have rows from -128 to 127 unless wide, not \d+"):
        part.encode()
    assert len(replace(part, wide=True).encode()) == 4


@pytest.mark.parametrize("width", [32, 64, 128, 512])
def test_program_and_blocks_are_whole_units_and_beats(rng, width):
    config = replace(CONFIG, axi_data_width=width, act_word=64)
    blocks = [[section(rng, Memory.WEIGHT, wide=False, count=count)] for count in (1, 2, 5, 8)]
    resident = [section(rng, Memory.PARAM, wide=False, count=3)]
    image = build_image(config, resident, instructions=1, blocks=blocks, **REGIONS)
    multiple = max(width // 32, 2)
    place, lengths = int(image[HeaderWord.TOTAL_WORDS]), []
    following = int(image[HeaderWord.BLOCK_WORDS])
    for block in blocks:
        lengths.append(following)
        end = place + 2 + len(block[0].encode())
        assert image[end] == zlib.crc32(image[place:end].astype("<u4").tobytes())
        following, place = int(image[place]), place + following
    assert place == len(image)
    assert following == lengths[0]
    assert all(length % multiple == 0 for length in [*lengths, HEADER_WORDS, len(image)])
    checked = image[: HeaderWord.CHECKSUM].astype("<u4").tobytes()
    assert image[HeaderWord.CHECKSUM] == zlib.crc32(checked)


def test_an_odd_number_of_blocks_is_refused(rng):
    blocks = [[section(rng, Memory.WEIGHT, wide=False, count=1)]]
    with pytest.raises(ValueError, match="blocks must be a multiple of 2, not 1"):
        build_image(CONFIG, [], instructions=1, blocks=blocks, **REGIONS)
