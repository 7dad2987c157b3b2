import re

from jpnet_hw.register_docs import register_header, register_page
from jpnet_spec.errors import ErrorCode
from jpnet_spec.registers import REGISTERS


def test_header_defines_every_register_bit_and_code():
    defines = dict(re.findall(r"#define (\w+) (\w+)", register_header()))
    for entry in REGISTERS:
        assert int(defines[f"JPNET_{entry.name}"].rstrip("u"), 16) == entry.offset
        for bit in entry.bits:
            value = defines[f"JPNET_{entry.name}_{bit.name}"]
            assert int(value.rstrip("u"), 16) == entry.mask(bit.name)
    for code in ErrorCode:
        assert defines[f"JPNET_ERROR_{code.name}"] == f"{code.value}u"


def test_page_lists_every_register_once():
    rows = re.findall(r"^\| 0x([0-9a-f]{3}) \| (\w+) \|", register_page(), re.MULTILINE)
    assert rows == [(f"{entry.offset:03x}", entry.name) for entry in REGISTERS]
