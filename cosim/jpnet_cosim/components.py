"""Verilog of single components, for their benches."""

import json
from pathlib import Path

import cocotb
from amaranth.back import verilog
from amaranth.lib import data, wiring

from jpnet_spec.config import AcceleratorConfig

__all__ = ["bench_config", "emit_component", "packed"]

_WAIVERS = """`verilator_config
lint_off -rule WIDTHEXPAND
lint_off -rule WIDTHTRUNC
lint_off -rule CASEINCOMPLETE
lint_off -rule PROCASSINIT
lint_off -rule UNUSEDSIGNAL
lint_off -rule DECLFILENAME
"""


def emit_component(component: wiring.Component, folder: Path, *, top: str) -> None:
    """Write a component's Verilog and the waivers of what Amaranth's output trips.

    Parameters
    ----------
    component
        Elaborated once; its members become the ports.
    folder
        Where the files go.
    top
        Name of the module.
    """
    text = verilog.convert(component, name=top, strip_internal_attrs=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{top}.v").write_text(text)
    (folder / f"{top}.vlt").write_text(_WAIVERS)


def bench_config() -> AcceleratorConfig:
    """Return the configuration in the file that a bench's plusarg ``config`` names."""
    text = Path(str(cocotb.plusargs["config"])).read_text()
    return AcceleratorConfig(**json.loads(text))


def packed(layout: data.StructLayout, **fields: int) -> int:
    """Return a structure's bits; fields not given are 0."""
    bits = 0
    for name, value in fields.items():
        place = layout[name]
        bits |= (int(value) & (1 << place.width) - 1) << place.offset
    return bits
