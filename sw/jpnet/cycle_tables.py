"""Measured cycles of the cycle model and of the reference layers as Markdown."""

from pathlib import Path

from jpnet.bench_cycles import CYCLES_KIND
from jpnet.bench_layers import LAYERS_KIND
from jpnet.json_file import read_json

__all__ = ["cycle_model_table", "reference_layers_table"]


def cycle_model_table(path: Path) -> str:
    """Return the errors of the cycle model, one row for each network and preset.

    Raises
    ------
    ArtefactError
        If the file is missing or damaged.
    """
    found = read_json(path, kind=CYCLES_KIND, made_by="make benchcycles")
    lines = [
        "| network, preset | Verilog | predicted | error | largest error of a layer | speed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for entry in found["networks"]:
        total, speed = entry["cycles_total"], entry["cycles_per_second"]
        worst = max((layer["error_percent"] for layer in entry["layers"]), key=abs)
        lines.append(
            f"| {entry['model']}, {entry['config']} | {total['measured']:,.1f} "
            f"| {total['predicted']:,.1f} | {total['error_percent']:.3f} % | {worst:.3f} % "
            f"| {speed['model'] / speed['verilog']:.0f} x |"
        )
    return "\n".join(lines) + "\n"


def reference_layers_table(path: Path) -> str:
    """Return what the reference layers take, one row for each layer and number of multipliers.

    Raises
    ------
    ArtefactError
        If the file is missing or damaged.
    """
    found = read_json(path, kind=LAYERS_KIND, made_by="make benchlayers")
    lines = [
        "| layer | MAC units | bound | cycles | fraction of the bound | largest loss |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for entry in found["layers"]:
        cause = max(entry["stalls"], key=entry["stalls"].get)
        share = entry["stalls"][cause] / entry["cycles"]
        lines.append(
            f"| {entry['layer']} | {entry['mac_units']} | {entry['cycles_bound']:,.0f} "
            f"| {entry['cycles']:,.0f} | {entry['fraction_of_bound']:.3f} "
            f"| `{cause}`, {100 * share:.1f} % |"
        )
    return "\n".join(lines) + "\n"
