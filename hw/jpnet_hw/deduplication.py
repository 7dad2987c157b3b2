"""Merging of identical modules in RTLIL, so that a lane is written once and placed often."""

import re
from collections.abc import Iterator, Mapping

__all__ = ["merge_identical_modules"]

_MODULE = re.compile(r"^(?:attribute [^\n]*\n)*module (\S+)\n.*?^end\n", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^(  cell )(\\\S+)( )", re.MULTILINE)


def _modules(rtlil: str) -> Iterator[tuple[str, str]]:
    for match in _MODULE.finditer(rtlil):
        yield match[1], match[0]


def _with_cells(text: str, replaced: Mapping[str, str]) -> str:
    def rename(cell: re.Match[str]) -> str:
        return cell[1] + replaced.get(cell[2], cell[2]) + cell[3]

    return _CELL.sub(rename, text)


def merge_identical_modules(rtlil: str) -> str:
    """Keep one of all modules that differ in nothing but their name.

    Modules whose cells become equal by the merge are merged in turn. The result computes the same;
    names of the kept modules do not change.

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
    texts = dict(_modules(rtlil))
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
