"""Merging of identical modules in RTLIL, so that a lane is written once and placed often."""

import re
from collections.abc import Iterator, Mapping

__all__ = ["merge_identical_modules"]

_MODULE = re.compile(r"^(?:attribute [^\n]*\n)*module (\S+)\n.*?^end\n", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^(  cell )(\\\S+)( )", re.MULTILINE)
_NUMBERED_PORT = re.compile(r"^  wire [^\n]*put \d+ +(\\port\$\S+)$", re.MULTILINE)
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
            if line.startswith("    connect \\port$") and cell in names:
                connect, port, signal = line.lstrip().split(" ", 2)
                port = names[cell].get(port, port)
                yield f"    {connect} {port} {counted(signal, names[module])}"
            else:
                yield counted(line, names[module])

    return {
        module: "".join(counted_lines(module, text)) if "\\port$" in text else text
        for module, text in texts.items()
    }


def merge_identical_modules(rtlil: str) -> str:
    """Keep one of all modules that differ in nothing but their name.

    Modules whose cells become equal by the merge are merged in turn. The result computes the same;
    names of the kept modules do not change, those of ports that have only a number do.

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
