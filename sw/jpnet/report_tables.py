"""The report as tables on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from jpnet_spec.counters import STALL_COUNTERS

__all__ = ["print_report"]

_STALLS = {counter.name: counter.name.removeprefix("IDLE_").lower() for counter in STALL_COUNTERS}


def _percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _summary(report: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{report['model']} on {report['config']}: {report['images']:,} test images of "
        f"{report['dataset']}",
        show_header=False,
    )
    table.add_column("what")
    table.add_column("value", justify="right")
    speedup = report["speedup_over_dense"]
    rows = (
        ("accuracy: dense float network", _percent(report["accuracy_dense"])),
        ("accuracy: sparse float network", _percent(report["accuracy_jp"])),
        ("accuracy: integer network", _percent(report["accuracy_int8"])),
        ("accuracy: Verilog", _percent(report["accuracy_rtl"])),
        ("weights kept", _percent(report["weight_density"])),
        ("activations kept", _percent(report["activation_density"])),
        ("MACs of the dense network", _number(report["macs_dense"])),
        ("MACs with a non-zero weight", _number(report["macs_weight_only"])),
        ("MACs with both operands non-zero", _number(report["macs_effective"])),
        ("  of the dense network's", f"{report['mac_percent_effective']:.2f} %"),
        ("  by the product of averages", f"{report['mac_percent_product']:.2f} %"),
        ("MAC units", _number(report["mac_units"])),
        ("cycles per image, back to back", _number(report["cycles_total"])),
        ("cycles of the bound (MACs / MAC units)", _number(report["cycles_bound"])),
        ("fraction of the bound", f"{report['fraction_of_bound']:.2f}"),
        ("cycles of one image alone", _number(report["cycles_latency"])),
        ("  with the load of the program", _number(report["cycles_cold"])),
        ("cycles of the dense network", _number(report["cycles_dense"])),
        ("speed-up over it", "-" if speedup is None else f"{speedup:.1f} x"),
        ("values compared with the integer network", _number(report["values_compared"])),
        ("values that differ", _number(report["mismatches"])),
    )
    for row in rows:
        table.add_row(*row)
    return table


def _layers(report: Mapping[str, Any]) -> Table:
    table = Table(title="Layers, one image at a time; idle: share of the layer's lane cycles")
    columns = ("layer", "weights", "outputs", "MACs", "of dense", "cycles", "bound", "reached")
    for column in (*columns, *(f"idle: {name}" for name in _STALLS.values())):
        table.add_column(column.replace("_", " "), justify="left" if column == "layer" else "right")
    for layer in report["layers"]:
        lane_cycles = layer["cycles"] * report["mac_units"]
        table.add_row(
            layer["name"],
            _percent(layer["weight_density"], 1),
            _percent(layer["activation_density"], 1),
            _number(layer["macs_effective"]),
            f"{layer['mac_percent_effective']:.2f} %",
            _number(layer["cycles"]),
            _number(layer["cycles_bound"]),
            "-" if layer["fraction_of_bound"] is None else f"{layer['fraction_of_bound']:.2f}",
            *(
                "-" if not lane_cycles else _percent(layer["stalls"][name] / lane_cycles, 0)
                for name in _STALLS
            ),
        )
    return table


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print the summary and the layers."""
    console.print(_summary(report))
    console.print(_layers(report))
