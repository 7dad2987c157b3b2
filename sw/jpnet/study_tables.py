"""Tables of studies, as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jpnet.study_file import Study

__all__ = ["study_table"]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    marks = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *rows))


def _percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _crossed(
    points: Sequence[Mapping[str, Any]], *, row: str, column: str, value: str
) -> tuple[list[str], list[float], dict[tuple[str, float], float]]:
    """Return the rows, the columns and the cells of points."""
    rows = list(dict.fromkeys(point[row] for point in points))
    columns = list(dict.fromkeys(point[column] for point in points))
    return rows, columns, {(point[row], point[column]): point[value] for point in points}


def _sensitivity(content: Mapping[str, Any]) -> str:
    groups, rates, cells = _crossed(
        content["points"], row="layer", column="rate", value="accuracy_percent"
    )
    head = ["winner rate", *(f"{rate:g}" for rate in rates)]
    rows = [[group, *(_percent(cells.get((group, rate))) for rate in rates)] for group in groups]
    return (
        f"Accuracy on {content['images']:,} held-out images, %; "
        f"{content['unfiltered_percent']:.2f} without filters.\n\n{_table(head, rows)}"
    )


def _thresholds(content: Mapping[str, Any]) -> str:
    kinds = [(kind, trained) for kind in ("dynamic", "static") for trained in (False, True)]
    head = [
        "winner rate",
        *(f"{kind}{', fine-tuned' if trained else ''}" for kind, trained in kinds),
    ]
    cells = {
        (point["rate"], point["kind"], point["epochs"] > 0): point for point in content["points"]
    }
    rows = []
    for rate in dict.fromkeys(point["rate"] for point in content["points"]):
        row = [f"{rate:g}"]
        for kind, trained in kinds:
            found = cells.get((rate, kind, trained))
            row.append(
                "-"
                if found is None
                else f"{found['accuracy_percent']:.2f} at {found['activation_percent']:.1f}"
            )
        rows.append(row)
    return (
        f"Accuracy on the test images at non-zero activations, %; "
        f"{content['weight_pruned_accuracy_percent']:.2f} without filters. "
        f"{content['epochs']} epochs of fine-tuning.\n\n{_table(head, rows)}"
    )


def _sampling(content: Mapping[str, Any]) -> str:
    layers, shares, cells = _crossed(
        content["points"], row="layer", column="sampled_percent", value="accuracy_percent"
    )
    head = ["elements sampled", "100 %", *(f"{share:g} %" for share in shares)]
    exact = _percent(content["exact"]["accuracy_percent"])
    rows = [
        [layer, exact, *(_percent(cells[layer, share]) for share in shares)] for layer in layers
    ]
    return f"Accuracy on {content['images']:,} test images, %.\n\n{_table(head, rows)}"


def _histograms(content: Mapping[str, Any]) -> str:
    head = ["layer", "network", "zeros, %", "mean magnitude of the others"]
    rows = [
        [layer["name"], kind, _percent(found["zero_percent"]), f"{found['mean_magnitude']:.4g}"]
        for layer in content["layers"]
        for kind, found in layer["networks"].items()
    ]
    return f"{content['images']:,} training images.\n\n{_table(head, rows)}"


def _densities(content: Mapping[str, Any]) -> str:
    kinds = list(content["activation_percent"])
    head = ["layer", "outputs", *(f"{kind}, %" for kind in kinds)]
    rows = [
        [layer["name"], f"{layer['elements']:,}", *(_percent(layer[kind]) for kind in kinds)]
        for layer in content["layers"]
    ]
    elements = sum(layer["elements"] for layer in content["layers"])
    for name, shares, count in (
        ("all layers", content["activation_percent"], f"{elements:,}"),
        ("effective MACs", content["mac_percent"], ""),
    ):
        rows.append([name, count, *(_percent(shares[kind]) for kind in kinds)])
    return (
        f"Non-zero outputs of activation functions, {content['images']:,} training images.\n\n"
        f"{_table(head, rows)}"
    )


def _tradeoff(content: Mapping[str, Any]) -> str:
    head = [
        "tolerance, points",
        "non-zero activations, %",
        "effective MACs, %",
        "accuracy, int8, %",
    ]
    rows = [
        [
            f"{point['tolerance_percent']:g}",
            _percent(point["activation_percent"]),
            _percent(point["mac_percent"], 3),
            _percent(point["accuracy_percent"]),
        ]
        for point in content["points"]
    ]
    return (
        f"Dense {content['dense_accuracy_percent']:.2f} %, weight-pruned "
        f"{content['weight_pruned_accuracy_percent']:.2f} % at "
        f"{content['weight_pruned_mac_percent']:.3f} % of the MACs.\n\n{_table(head, rows)}"
    )


_TABLES: Mapping[Study, Callable[[Mapping[str, Any]], str]] = {
    Study.SENSITIVITY: _sensitivity,
    Study.THRESHOLDS: _thresholds,
    Study.SAMPLING: _sampling,
    Study.HISTOGRAMS: _histograms,
    Study.DENSITIES: _densities,
    Study.TRADEOFF: _tradeoff,
}


def study_table(content: Mapping[str, Any]) -> str:
    """Return a study's table, with a line that says what it holds.

    Parameters
    ----------
    content
        Of a study's file.
    """
    return _TABLES[Study(content["study"])](content)
