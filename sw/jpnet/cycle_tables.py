"""Measured cycles of cycle model, layers, wide network and list encodings as Markdown."""

from pathlib import Path

from jpnet.bench_cycles import CYCLES_KIND
from jpnet.bench_encodings import ENCODINGS_KIND
from jpnet.bench_layers import LAYERS_KIND
from jpnet.bench_wide import WIDE_KIND
from jpnet.json_file import read_json

__all__ = [
    "cycle_model_table",
    "list_encodings_table",
    "reference_layers_table",
    "wide_network_table",
]


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


def wide_network_table(path: Path) -> str:
    """Return what the wide residual network takes.

    Raises
    ------
    ArtefactError
        If the file is missing or damaged.
    """
    found = read_json(path, kind=WIDE_KIND, made_by="make benchwide")
    cause = max(found["stalls"], key=found["stalls"].get)
    share = 100 * found["macs_effective"] / found["macs_dense"]
    rows = {
        "MAC units": f"{found['mac_units']}",
        "values compared, of which differ": f"{found['values_compared']:,}, {found['mismatches']}",
        "MACs, dense": f"{found['macs_dense']:,}",
        "MACs, effective": f"{found['macs_effective']:,} ({share:.2f} %)",
        "lists streamed": f"{found['stream_bytes'] / 1e6:.1f} MB",
        "cycles, Verilog": f"{found['cycles']:,}",
        "cycles, predicted": f"{found['cycles_predicted']:,}",
        "bound": f"{found['cycles_bound']:,.0f}",
        "fraction of the bound": f"{found['fraction_of_bound']:.3f}",
        "largest loss": f"`{cause}`, {100 * found['stalls'][cause] / found['cycles']:.1f} %",
        "simulated in": f"{found['simulation_seconds']:.0f} s",
    }
    lines = ["| one image | |", "| --- | ---: |"]
    lines += [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(lines) + "\n"


def list_encodings_table(path: Path) -> str:
    """Return what each encoding of weight lists takes, a table for each network.

    Raises
    ------
    ArtefactError
        If the file is missing or damaged.
    """
    found = read_json(path, kind=ENCODINGS_KIND, made_by="make benchencodings")
    lines = []
    for network in found["networks"]:
        lines += [
            f"{network['network']}, {network['images']} images:",
            "",
            (
                "| encoding | bits a weight | program, kB | streamed, kB | cycles an image "
                "| predicted | fraction of the bound | values that differ |"
            ),
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {entry['encoding']} | {entry['bits_per_weight']:.2f} "
            f"| {entry['program_bytes'] / 1e3:,.0f} | {entry['stream_bytes'] / 1e3:,.0f} "
            f"| {entry['cycles_per_image']:,.0f} "
            f"| {entry['cycles_per_image_predicted']:,.0f} | {entry['fraction_of_bound']:.3f} "
            f"| {entry['mismatches']} of {entry['values_compared']:,} |"
            for entry in network["encodings"]
        ]
        lines.append("")
    return "\n".join(lines)
