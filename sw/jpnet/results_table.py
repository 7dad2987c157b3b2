"""Measured results as Markdown, for the documentation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jpnet.bench import SPEED_KIND
from jpnet.json_file import read_json
from jpnet.page import put_between
from jpnet.report import REPORT_KIND
from jpnet.workspace import DATA_OF
from jpnet.zoo import zoo_file
from jpnet_spec.artefact import ArtefactError
from jpnet_spec.configs import PRESETS

__all__ = ["insert_results", "results_table"]

_MADE_BY = "jpnet bench"

_BEGIN, _END = "<!-- jpnet results docs/results -->\n", "<!-- end of results -->\n"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _column(report: Mapping[str, Any]) -> list[str]:
    speedup = report["speedup_over_dense"]
    return [
        f"{report['mac_units']}",
        f"{report['images']:,}",
        f"{report['mismatches']} of {report['values_compared']:,}",
        _percent(report["accuracy_rtl"]),
        f"{report['macs_effective']:,.0f} ({report['mac_percent_effective']:.2f} %)",
        f"{report['cycles_total']:,.0f}",
        f"{report['cycles_bound']:,.0f}",
        f"{report['fraction_of_bound']:.2f}",
        f"{report['cycles_latency']:,.0f}",
        "-" if speedup is None else f"{speedup:.1f} x",
    ]


_ROWS = (
    "MAC units",
    "test images simulated",
    "values that differ from the integer network",
    "accuracy of the Verilog",
    "effective MACs per image (of the dense network's)",
    "cycles per image, back to back",
    "bound: effective MACs / MAC units",
    "fraction of the bound",
    "cycles of one image alone",
    "speed-up over the dense network on the same lanes",
)


def _presets(folder: Path, model: str) -> list[str]:
    files = {name: folder / f"{model}-{name}.json" for name in PRESETS}
    reports = {
        name: read_json(path, kind=REPORT_KIND, made_by=_MADE_BY)
        for name, path in files.items()
        if path.is_file()
    }
    if not reports:
        return []
    lines = [
        f"| {model} | {' | '.join(reports)} |",
        f"| --- |{' ---: |' * len(reports)}",
    ]
    columns = [_column(report) for report in reports.values()]
    for label, *values in zip(_ROWS, *columns, strict=True):
        lines.append(f"| {label} | {' | '.join(values)} |")
    return lines


def _seeds(model: str) -> list[str]:
    """Return what the zoo says about the model's training on several seeds."""
    path = zoo_file(model)
    if path is None:
        return []
    found = json.loads(path.with_name("results.json").read_text())
    average, spread = found["mean"], found["std"]
    return [
        "",
        (
            f"Trained on {len(found['seeds'])} seeds (mean ± standard deviation): accuracy "
            f"{100 * average['accuracy_int8']:.2f} ± {100 * spread['accuracy_int8']:.2f} %, "
            f"effective MACs {average['mac_percent_effective']:.2f} ± "
            f"{spread['mac_percent_effective']:.2f} % of the dense network's; the dense float "
            f"network has {100 * average['accuracy_dense']:.2f} ± "
            f"{100 * spread['accuracy_dense']:.2f} %. The table is seed "
            f"{found['seeds'][0]['seed']}'s."
        ),
    ]


def _speed(path: Path) -> list[str]:
    if not path.is_file():
        return []
    speed = read_json(path, kind=SPEED_KIND, made_by=_MADE_BY)
    return ["", f"Integer network: {speed['integer_network_images_per_second']:,.0f} images/s."]


def results_table(folder: Path) -> str:
    """Return the results in a folder as Markdown, one table for each model of the zoo.

    Raises
    ------
    ArtefactError
        If there are none, or a file is damaged.
    """
    lines: list[str] = []
    for model in DATA_OF:
        table = _presets(folder, model)
        if table:
            lines += ["", *table, *_seeds(model)]
    if not lines:
        raise ArtefactError(f"{folder}: no results, `{_MADE_BY}` makes them")
    lines += _speed(folder / "speed.json")
    return "\n".join(lines[1:]) + "\n"


def insert_results(page: str, table: str) -> str:
    """Return a page with the table between its two markers.

    Raises
    ------
    ValueError
        If a marker is missing.
    """
    return put_between(page, table, begin=_BEGIN, end=_END)
