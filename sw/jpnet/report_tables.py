"""The report as tables on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from jpnet_spec.counters import Counter

__all__ = ["print_report"]

_STALLS = {
    Counter.IDLE_NO_ACTIVATION.name: "no input",
    Counter.IDLE_IMBALANCE.name: "imbalance",
    Counter.IDLE_LIST_EMPTY.name: "no weight",
    Counter.IDLE_DRAIN.name: "drain",
    Counter.IDLE_TOPN.name: "top-N",
    Counter.IDLE_MEMORY.name: "memory",
}


def _percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _streamed(size: float) -> str:
    return _number(size) if size else "none, resident"


def _summary(report: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{report['model']} on {report['config']}: {report['images']:,} test images of "
        f"{report['dataset']}",
        show_header=False,
    )
    table.add_column("what")
    table.add_column("value", justify="right")
    speedup = report["speedup_over_dense"]
    weights = report["speedup_over_weight_only"]
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
        ("bytes of weights streamed per image", _streamed(report["stream_bytes_per_image"])),
        ("cycles of the dense network", _number(report["cycles_dense"])),
        ("  speed-up over it", "-" if speedup is None else f"{speedup:.1f} x"),
        ("cycles with zero weights skipped only", _number(report["cycles_weight_only"])),
        ("  speed-up over them", "-" if weights is None else f"{weights:.1f} x"),
        ("values compared with the integer network", _number(report["values_compared"])),
        ("values that differ", _number(report["mismatches"])),
    )
    for row in rows:
        table.add_row(*row)
    return table


def _layers(report: Mapping[str, Any]) -> Table:
    table = Table(title="Layers, one image at a time")
    for column in ("layer", "weights", "outputs", "MACs", "of dense", "cycles", "bound"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for layer in report["layers"]:
        table.add_row(
            layer["name"],
            _percent(layer["weight_density"], 1),
            _percent(layer["activation_density"], 1),
            _number(layer["macs_effective"]),
            f"{layer['mac_percent_effective']:.2f} %",
            _number(layer["cycles"]),
            _number(layer["cycles_bound"]),
        )
    return table


def _stalls(report: Mapping[str, Any]) -> Table:
    """Tabulate what the lanes did in each layer's cycles, and in a stream of images."""
    table = Table(title="What the lanes do: one image at a time, then in a stream of images")
    table.add_column("layer")
    for column in ("busy", *_STALLS.values()):
        table.add_column(column, justify="right")
    stream = {
        "name": "stream",
        "cycles": report["cycles_total"],
        "macs_effective": report["macs_effective"],
        "stalls": report["stalls"],
    }
    for layer in (*report["layers"], stream):
        lane_cycles = max(layer["cycles"] * report["mac_units"], 1)
        table.add_row(
            layer["name"],
            _percent(layer["macs_effective"] / lane_cycles, 0),
            *(_percent(layer["stalls"][name] / lane_cycles, 0) for name in _STALLS),
        )
    return table


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print the summary, the layers and what the lanes did."""
    for table in (_summary(report), _layers(report), _stalls(report)):
        console.print(table)
