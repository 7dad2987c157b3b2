"""Folding of memories' initial values in Verilog, one loop instead of a line per entry."""

import re

__all__ = ["fold_initial_values"]

_BLOCK = re.compile(r"  initial begin\n((?:    \S+ ?\[\d+\] = \d+'[dh][0-9a-f]+;\n)+)  end\n")
_ENTRY = re.compile(r"    (\S+ ?)\[(\d+)\] = (\d+'[dh][0-9a-f]+);\n")


def fold_initial_values(verilog: str) -> str:
    """Write each memory whose entries all start with one value as a loop.

    Simulators compile a line per entry into code: of large memories, more than all the rest.

    Parameters
    ----------
    verilog
        As written by Yosys.

    Returns
    -------
    str
        The same design.
    """
    return _BLOCK.sub(_folded, verilog)


def _folded(block: re.Match[str]) -> str:
    entries = _ENTRY.findall(block[1])
    names = {name for name, _, _ in entries}
    values = {value for _, _, value in entries}
    addresses = [int(address) for _, address, _ in entries]
    if len(names) != 1 or len(values) != 1 or addresses != list(range(len(entries))):
        return block[0]
    name, value = names.pop(), values.pop()
    # A module may have several memories, each with a variable of its own.
    entry = "entry_" + re.sub(r"\W", "_", name.strip("\\ "))
    return (
        f"  integer {entry};\n"
        f"  initial for ({entry} = 0; {entry} < {len(entries)}; {entry} = {entry} + 1)\n"
        f"    {name}[{entry}] = {value};\n"
    )
