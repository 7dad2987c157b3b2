"""The register map as a C header and as a page of documentation."""

from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.registers import COUNTER_BASE, ID_VALUE, REGISTERS

__all__ = ["register_header", "register_page"]


def register_header() -> str:
    """Return offsets, bits, error codes and counters as a C header."""
    lines = ["#ifndef JPNET_REGISTERS_H", "#define JPNET_REGISTERS_H", ""]
    lines.append(f"#define JPNET_ID_VALUE 0x{ID_VALUE:08x}u")
    for entry in REGISTERS:
        lines += ["", f"/* {entry.description}; {entry.access}. */"]
        lines.append(f"#define JPNET_{entry.name} 0x{entry.offset:03x}u")
        for bit in entry.bits:
            value = f"0x{1 << bit.position:x}u"
            lines.append(f"#define JPNET_{entry.name}_{bit.name} {value} /* {bit.description} */")
    lines += ["", "/* Counter i has its low word at JPNET_COUNTER_BASE + 8 * i, then the high. */"]
    lines.append(f"#define JPNET_COUNTER_BASE 0x{COUNTER_BASE:03x}u")
    lines.append(f"#define JPNET_COUNTERS {len(Counter)}u")
    lines += [f"#define JPNET_COUNTER_INDEX_{item.name} {item.value}u" for item in Counter]
    lines += ["", "/* Values of JPNET_ERROR. */"]
    lines += [f"#define JPNET_ERROR_{code.name} {code.value}u" for code in ErrorCode]
    lines += ["", "#endif"]
    return "\n".join(lines) + "\n"


def register_page() -> str:
    """Return the register map as Markdown."""
    lines = [
        "# Registers",
        "",
        "All registers have 32 bits. Any offset not listed answers with SLVERR.",
        "",
        "| offset | name | access | content |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| 0x{entry.offset:03x} | {entry.name} | {entry.access} | {entry.description} |"
        for entry in REGISTERS
    ]
    for entry in (item for item in REGISTERS if item.bits):
        lines += ["", f"## {entry.name}", "", "| bit | name | meaning |", "| --- | --- | --- |"]
        lines += [f"| {bit.position} | {bit.name} | {bit.description} |" for bit in entry.bits]
    lines += ["", "## Error codes", "", "| code | name |", "| --- | --- |"]
    lines += [f"| {code.value} | {code.name} |" for code in ErrorCode]
    return "\n".join(lines) + "\n"
