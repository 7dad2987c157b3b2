"""What a netlist for the ECP5 is made of, by the accelerator's parts."""

import json
import re
from pathlib import Path

from jpnet_hw.pin_wrapper import WRAPPER

__all__ = ["MEMORY_LUT4", "PARTS", "count_parts", "read_cells"]

PARTS = ("lanes", "drain", "skippers", "contexts", "activations", "rest")
"""Parts of the accelerator, as `count_parts` names them."""

MEMORY_LUT4 = 6
"""Look-up tables that a cell of distributed memory takes."""

_PART_OF = {
    "cluster": "lanes",
    "drain": "drain",
    "skipper": "skippers",
    "context": "contexts",
    "memory": "activations",
}
_COUNTED = {
    "MULT18X18D": ("mult18x18d", 1),
    "DP16KD": ("dp16kd", 1),
    "TRELLIS_DPR16X4": ("distributed_ram_lut4", MEMORY_LUT4),
}
# The path of a cell begins with the accelerator's and the part's instance, which has a number
# where there are several, or where its name is also that of something else.
_INSTANCE = re.compile(r"[^.]+\.([a-z]+)(?:[_$]\d+)?\.")


def read_cells(netlist: Path) -> dict[str, str]:
    """Return the type of each cell of a netlist of Yosys, by the cell's path."""
    module = json.loads(netlist.read_text(encoding="utf-8"))["modules"][WRAPPER]
    return {name: cell["type"] for name, cell in module["cells"].items()}


def count_parts(cells: dict[str, str]) -> dict[str, dict[str, int]]:
    """Return the multipliers, block RAMs and look-up tables used as memory of each of `PARTS`."""
    counts = {part: {name: 0 for name, _ in _COUNTED.values()} for part in PARTS}
    for path, kind in cells.items():
        if kind in _COUNTED:
            found = _INSTANCE.match(path)
            part = _PART_OF.get(found[1], "rest") if found else "rest"
            name, amount = _COUNTED[kind]
            counts[part][name] += amount
    return counts
