"""Area and clock of an accelerator on an FPGA."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jpnet.emission import find_verilog
from jpnet.json_file import read_json, write_json
from jpnet.page import put_between
from jpnet.provenance import provenance
from jpnet.tool_error import ToolError
from jpnet.workspace import Workspace, load_config

__all__ = ["SYNTHESIS_KIND", "insert_areas", "measure_area", "print_area", "read_areas"]

SYNTHESIS_KIND = "synthesis"
"""Kind of the file that `measure_area` writes."""

_BEGIN, _END = "<!-- jpnet synth docs/results -->\n", "<!-- end of area -->\n"


def measure_area(
    workspace: Workspace, *, target_mhz: float, results: Path | None, console: Console
) -> dict[str, Any]:
    """Synthesise, place and route the workspace's Verilog, write and return the figures.

    Parameters
    ----------
    workspace
        Holds the Verilog.
    target_mhz
        Clock that placement and routing aim at.
    results
        Folder that gets the figures too, as ``synthesis-CONFIG.json``.
    console
        Where progress is printed.

    Raises
    ------
    ToolError
        If a tool fails, or the design does not fit the device.
    ArtefactError
        If the Verilog is missing or of another configuration.
    """
    from jpnet_hw.synthesis import SynthesisError, synthesise

    config = load_config(workspace.config)
    verilog = find_verilog(workspace)
    try:
        found = synthesise(
            config,
            verilog,
            workspace.folder / "synth",
            target_mhz=target_mhz,
            say=lambda line: console.print(line, highlight=False, markup=False),
        )
    except SynthesisError as error:
        raise ToolError(str(error)) from error
    content = {
        "config": workspace.config_name,
        "mac_units": config.mac_units,
        **asdict(found),
        "provenance": provenance(seed=found.seed, data=None),
    }
    write_json(workspace.synthesis_file, kind=SYNTHESIS_KIND, content=content)
    if results is not None:
        path = results / f"synthesis-{workspace.config_name}.json"
        write_json(path, kind=SYNTHESIS_KIND, content=content)
    return content


def _by_part(content: Mapping[str, Any], resource: str) -> tuple[str, str]:
    parts = content["parts"]
    names, values = " / ".join(parts), " / ".join(f"{part[resource]:,}" for part in parts.values())
    return f"in {names}", values


def _rows(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("MAC units", f"{content['mac_units']:,}"),
        ("LUT4 in all, as placed", f"{content['comb']:,}"),
        ("LUT4 of logic and carries", f"{content['lut4']:,}"),
        ("LUT4 of distributed memory", f"{content['distributed_ram_lut4']:,}"),
        _by_part(content, "distributed_ram_lut4"),
        ("flip-flops", f"{content['flip_flops']:,}"),
        ("block RAMs (DP16KD)", f"{content['dp16kd']:,}"),
        _by_part(content, "dp16kd"),
        ("multipliers (MULT18X18D)", f"{content['mult18x18d']:,}"),
        _by_part(content, "mult18x18d"),
        *(
            (f"highest clock, speed {grade}", f"{clock:.1f} MHz")
            for grade, clock in content["fmax_mhz"].items()
        ),
        ("clock aimed at", f"{content['target_mhz']:.1f} MHz"),
        ("slowest path from", content["critical_start"]),
        ("slowest path to", content["critical_end"]),
    ]


def print_area(content: Mapping[str, Any], console: Console) -> None:
    """Print the figures of `measure_area`."""
    table = Table(title=f"{content['config']} on {content['device']}", show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right", overflow="fold")
    for row in _rows(content):
        table.add_row(*row)
    console.print(table)


def read_areas(results: Path) -> list[dict[str, Any]]:
    """Return the figures of `measure_area` that a folder has, those of the fewest MACs first.

    Raises
    ------
    ArtefactError
        If a file is not one of them.
    """
    areas = [
        read_json(path, kind=SYNTHESIS_KIND, made_by="jpnet synth --results")
        for path in sorted(results.glob("synthesis-*.json"))
    ]
    return sorted(areas, key=lambda content: int(content["mac_units"]))


def insert_areas(page: str, areas: Sequence[Mapping[str, Any]]) -> str:
    """Return a page with the figures of `measure_area` between its two markers.

    Parameters
    ----------
    page
        The text.
    areas
        At least one configuration's figures, all of the same device.

    Raises
    ------
    ValueError
        If a marker is missing.
    """
    names = " | ".join(f"`{content['config']}`" for content in areas)
    lines = [f"| on an {areas[0]['device']} | {names} |", "| --- |" + " ---: |" * len(areas)]
    for rows in zip(*(_rows(content) for content in areas), strict=True):
        values = " | ".join(value.replace("$", "") for _, value in rows)
        lines.append(f"| {rows[0][0]} | {values} |")
    return put_between(page, "\n".join(lines) + "\n", begin=_BEGIN, end=_END)
