from dataclasses import fields, replace

import pytest

from jpnet_spec.instruction import FIELDS, INSTRUCTION_WORDS, Instruction, LayerFlag, Opcode

PLAIN = Instruction(
    opcode=Opcode.FULLY_CONNECTED,
    flags=LayerFlag.FIRST_TILE | LayerFlag.LAST_TILE,
    source_slot=0,
    target_slot=1,
    threshold_mode=0,
    source_base=3,
    source_rows=4,
    target_base=5,
    rows=6,
    pointer_base=7,
    param_base=8,
    winners=9,
    shift=10,
    static_threshold=11,
    sample_stride=12,
)


def test_fields_are_those_of_an_instruction_and_share_no_bit():
    assert set(FIELDS) == {item.name for item in fields(Instruction)}
    used = [0] * INSTRUCTION_WORDS
    for place in FIELDS.values():
        mask = (1 << place.width) - 1 << place.bit
        assert mask < 2**32
        assert not used[place.word] & mask
        used[place.word] |= mask


@pytest.mark.parametrize("name", list(FIELDS))
def test_largest_value_of_a_field_fills_its_bits_and_no_others(name):
    place = FIELDS[name]
    largest = 2**place.width - 1
    before, after = replace(PLAIN, **{name: 0}).encode(), replace(PLAIN, **{name: largest}).encode()
    changed = [new ^ old for old, new in zip(before, after, strict=True)]
    assert changed[place.word] == largest << place.bit
    assert not any(changed[: place.word] + changed[place.word + 1 :])


@pytest.mark.parametrize("name", list(FIELDS))
def test_value_that_does_not_fit_is_refused(name):
    limit = 2 ** FIELDS[name].width
    message = rf"Instruction\.{name} must be from 0 to {limit - 1}, not {limit}"
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **{name: limit})
