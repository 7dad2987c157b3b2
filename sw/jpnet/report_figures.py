"""The report's figures: cycles with their causes, and MACs counted three ways, layer by layer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jpnet.picture import save_picture
from jpnet_spec.counters import STALL_COUNTERS

__all__ = ["write_figures"]

_BUSY = "#2a6f97"
_STALL_COLOURS = ("#e9c46a", "#f4a261", "#e76f51", "#8d99ae", "#b8a1d9", "#c9c9c9")


def _title(report: Mapping[str, Any]) -> str:
    return f"{report['model']} on {report['config']}, {report['images']:,} images"


def _cycles(report: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    layers = report["layers"]
    names = [layer["name"] for layer in layers]
    units = report["mac_units"]
    bottom = [layer["macs_effective"] / units for layer in layers]
    axes.bar(names, bottom, color=_BUSY, label="products (the bound)")
    for counter, colour in zip(STALL_COUNTERS, _STALL_COLOURS, strict=True):
        height = [layer["stalls"][counter.name] / units for layer in layers]
        label = "idle: " + counter.name.removeprefix("IDLE_").replace("_", " ").lower()
        axes.bar(names, height, bottom=bottom, color=colour, label=label)
        bottom = [low + high for low, high in zip(bottom, height, strict=True)]
    axes.set_ylabel("cycles, one image at a time")
    axes.set_title(_title(report))
    axes.legend(fontsize="small")
    return figure


def _macs(report: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    layers = report["layers"]
    ways = (
        ("macs_dense", "dense", "#c9c9c9"),
        ("macs_weight_only", "non-zero weights", "#e9c46a"),
        ("macs_effective", "both operands non-zero", _BUSY),
    )
    for index, (key, label, colour) in enumerate(ways):
        places = [place + 0.27 * (index - 1) for place in range(len(layers))]
        bars = axes.bar(places, [layer[key] for layer in layers], 0.27, color=colour, label=label)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize="x-small")
    axes.set_xticks(range(len(layers)), [layer["name"] for layer in layers])
    axes.set_yscale("log")
    axes.set_ylabel("MACs per image")
    axes.set_title(_title(report))
    axes.legend(fontsize="small")
    return figure


def write_figures(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``cycles.png`` and ``macs.png`` and return their paths."""
    paths = []
    for name, figure in (("cycles", _cycles(report)), ("macs", _macs(report))):
        paths.append(save_picture(figure, folder / f"{name}.png"))
    return paths
