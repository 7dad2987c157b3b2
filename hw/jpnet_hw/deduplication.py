"""Merging of identical modules in RTLIL, so that a lane is written once and placed often."""

import re
from collections.abc import Iterator, Mapping

__all__ = ["merge_identical_modules"]

_MODULE = re.compile(r"^(?:attribute [^\n]*\n)*module (\S+)\n.*?^end\n", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^(  cell )(\\\S+)( )", re.MULTILINE)
_NUMBERED_PORT = re.compile(r"^  wire [^\n]*put \d+ +(\\port\$\S+)$", re.MULTILINE)
_PORT = re.compile(
    r"((?:^  attribute [^\n]*\n)*^  wire [^\n]*?)(input|output) \d+ +(\S+)\n", re.MULTILINE
)
_CONNECTIONS = re.compile(r"(?:^    connect [^\n]*\n)+", re.MULTILINE)
_NUMBERED = re.compile(r"\\port\$\S+")


def _modules(rtlil: str) -> Iterator[tuple[str, str]]:
    for match in _MODULE.finditer(rtlil):
        yield match[1], match[0]


def _with_cells(text: str, replaced: Mapping[str, str]) -> str:
    def rename(cell: re.Match[str]) -> str:
        return cell[1] + replaced.get(cell[2], cell[2]) + cell[3]

    return _CELL.sub(rename, text)


def _with_counted_ports(texts: Mapping[str, str]) -> dict[str, str]:
    """Give ports that Amaranth only numbers their places in the module as numbers.

    Its own ones count through the whole design: no two modules would be equal.
    """
    names = {
        module: {
            name: f"\\port${number}" for number, name in enumerate(_NUMBERED_PORT.findall(text))
        }
        for module, text in texts.items()
    }

    def counted(text: str, of_module: Mapping[str, str]) -> str:
        return _NUMBERED.sub(lambda found: of_module.get(found[0], found[0]), text)

    def counted_lines(module: str, text: str) -> Iterator[str]:
        cell = ""
        for line in text.splitlines(keepends=True):
            if line.startswith("  cell "):
                cell = line.split()[1]
            if "\\port$" not in line:
                yield line
            elif line.startswith("    connect \\port$") and cell in names:
                connect, port, signal = line.lstrip().split(" ", 2)
                port = names[cell].get(port, port)
                yield f"    {connect} {port} {counted(signal, names[module])}"
            else:
                yield counted(line, names[module])

    return {
        module: "".join(counted_lines(module, text)) if "\\port$" in text else text
        for module, text in texts.items()
    }


def _with_sorted_ports(text: str) -> str:
    """Order a module's ports, and the connections of its cells, by their names.

    Their own order is that of the whole design's nets: no two modules would be equal.
    """
    ports = iter(enumerate(sorted(_PORT.findall(text), key=lambda port: port[2])))

    def in_order(_: re.Match[str]) -> str:
        number, (head, direction, name) = next(ports)
        return f"{head}{direction} {number}  {name}\n"

    return _CONNECTIONS.sub(
        lambda found: "".join(sorted(found[0].splitlines(keepends=True))),
        _PORT.sub(in_order, text),
    )


def merge_identical_modules(rtlil: str) -> str:
    """Keep one of all modules that differ in nothing but their name.

    Modules whose cells become equal by the merge are merged in turn. The result computes the same;
    names of the kept modules do not change, those of ports that have only a number do, and ports
    are in the order of their names but for those of the top.

    Parameters
    ----------
    rtlil
        As written by Amaranth without source attributes, submodules in any order.

    Returns
    -------
    str
        The same design with fewer modules.
    """
    preamble = rtlil[: next(_MODULE.finditer(rtlil)).start()]
    texts = _with_counted_ports(dict(_modules(rtlil)))
    placed = {cell for _, cell, _ in _CELL.findall(rtlil)}
    texts = {
        name: _with_sorted_ports(text) if name in placed else text for name, text in texts.items()
    }
    while True:
        kept: dict[str, str] = {}
        replaced: dict[str, str] = {}
        for name, text in texts.items():
            body = text.replace(f"module {name}\n", "module\n", 1)
            first = kept.setdefault(body, name)
            if first != name:
                replaced[name] = first
        if not replaced:
            return preamble + "".join(texts.values())
        texts = {
            name: _with_cells(text, replaced)
            for name, text in texts.items()
            if name not in replaced
        }
