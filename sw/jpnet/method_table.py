"""The methods' table and plot, made from the rows' files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from jpnet.json_file import read_json
from jpnet.method_rows import ROW_KIND
from jpnet.page import put_between
from jpnet_spec.artefact import ArtefactError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BEGIN", "END", "insert_table", "method_table", "plot_methods"]

_MADE_BY = "jpnet table"
BEGIN, END = "<!-- jpnet comparison docs/results/methods -->\n", "<!-- end of comparison -->\n"
"""Lines of a page between which the table stands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """The runs of one row.

    Parameters
    ----------
    model, row
        Which.
    runs
        One for each seed.
    """

    model: str
    row: str
    runs: tuple[dict[str, Any], ...]

    def values(self, get: Callable[[Mapping[str, Any]], float]) -> list[float]:
        return [get(run) for run in self.runs]

    def mean(self, get: Callable[[Mapping[str, Any]], float]) -> float:
        return mean(self.values(get))

    def text(self, get: Callable[[Mapping[str, Any]], float], digits: int) -> str:
        values = self.values(get)
        middle = f"{mean(values):,.{digits}f}"
        return middle if len(values) == 1 else f"{middle} ± {stdev(values):.{digits}f}"


def _read(folder: Path) -> list[_Group]:
    """Return the groups, models and rows in the table's order."""
    from jpnet_sw.comparison import rows_of, table_models

    files = sorted(folder.glob("*.json"))
    if not files:
        raise ArtefactError(f"{folder}: no results, `{_MADE_BY}` makes them")
    runs = [read_json(path, kind=ROW_KIND, made_by=_MADE_BY) for path in files]
    groups = []
    for model in table_models():
        of_model = [run for run in runs if run["model"] == model]
        budgets = {str(run["epochs"]) for run in of_model}
        if len(budgets) > 1:
            raise ArtefactError(
                f"{folder}: rows of {model} must have one budget, not {', '.join(sorted(budgets))}"
            )
        for row in rows_of(model):
            mine = tuple(run for run in of_model if run["row"] == row.name)
            if mine:
                groups.append(_Group(model=model, row=row.name, runs=mine))
    return groups


def _error(key: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda run: 100 * (1 - run[key])


def _fewer(key: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda run: float(run["macs"]["dense"] / run["macs"][key])


def _kilobytes(encoding: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda run: float(run["storage_bytes"][encoding] / 1000)


def _published(model: str, row: str) -> str:
    from jpnet_sw.comparison import find_row

    found = find_row(model, row).published
    if found is None:
        return "-"
    macs = "" if found.mac_reduction is None else f", {found.mac_reduction:g}x"
    return f"{found.error_percent:g} %, {found.weight_percent:g} %{macs}"


def _cycles(group: _Group) -> str:
    """Return the cycles of an image where every run of the row fits the accelerator."""
    fits = all(run["cycles"] for run in group.runs)
    return group.text(lambda run: float(run["cycles"]["an_image"]), 0) if fits else "-"


_HEAD = (
    "| row | published: error, weights, MACs | error, weights pruned | error, int8 with filters "
    "| weights % | MACs fewer, weights only | weights pruned, zeros skipped | with filters "
    "| paper's product | cycles, edge16 | explicit kB | run length kB | blocks kB | seeds |\n"
    "| --- | --- |" + " ---: |" * 12
)


def _row(group: _Group) -> str:
    cells = [
        group.row,
        _published(group.model, group.row),
        group.text(_error("accuracy_weight_pruned"), 2),
        group.text(_error("accuracy_int8"), 2),
        group.text(lambda run: float(100 * run["weight_density"]), 2),
        group.text(_fewer("weight_only"), 1),
        group.text(_fewer("weight_pruned_effective"), 1),
        group.text(_fewer("effective"), 1),
        group.text(_fewer("product"), 1),
        _cycles(group),
        *(group.text(_kilobytes(name), 1) for name in ("explicit", "run_length", "blocks")),
        str(len(group.runs)),
    ]
    return f"| {' | '.join(cells)} |"


def _heading(model: str, groups: Sequence[_Group]) -> str:
    first = groups[0].runs[0]
    epochs = first["epochs"]
    dense = [run for group in groups for run in group.runs]
    start = f"{epochs['dense']} epochs dense" if epochs["dense"] else "a trained dense network"
    return (
        f"**{model}** on {first['dataset']}: {first['macs']['dense']:,} MACs, {first['weights']:,} "
        f"weights; dense error {100 * (1 - mean(run['accuracy_dense'] for run in dense)):.2f} %. "
        f"Budget of every row: {start}, {epochs['prune']} epochs of the method, "
        f"{epochs['top_n']} with filters, {epochs['quantise']} in integers."
    )


def method_table(folder: Path) -> str:
    """Return the table as Markdown, one for each network.

    Parameters
    ----------
    folder
        Of the rows' files.

    Raises
    ------
    ArtefactError
        If there are none, one is damaged, or rows of a network differ in their budget.
    """
    groups = _read(folder)
    parts = []
    for model in dict.fromkeys(group.model for group in groups):
        mine = [group for group in groups if group.model == model]
        parts.append("\n".join([_heading(model, mine), "", _HEAD, *map(_row, mine)]))
    return "\n\n".join(parts) + "\n"


def insert_table(page: str, table: str) -> str:
    """Return a page with the table between its two markers.

    Raises
    ------
    ValueError
        If a marker is missing.
    """
    return put_between(page, table, begin=BEGIN, end=END)


def plot_methods(folder: Path, images: Path) -> list[Path]:
    """Draw accuracy against effective MACs and against cycles, and return the files.

    Parameters
    ----------
    folder
        Of the rows' files.
    images
        Folder for ``methods-<model>.svg``, one for each network.
    """
    from matplotlib.figure import Figure

    from jpnet.picture import save_picture

    groups = _read(folder)
    paths = []
    for model in dict.fromkeys(group.model for group in groups):
        figure = Figure(figsize=(8, 9))
        mine = [group for group in groups if group.model == model]
        upper, lower = figure.subplots(2, 1)
        _plot(upper, mine, lambda run: float(run["mac_percent"]["effective"]))
        upper.set_xlabel("effective MACs, % of dense")
        fitting = [group for group in mine if all(run["cycles"] for run in group.runs)]
        _plot(lower, fitting, lambda run: float(run["cycles"]["an_image"]))
        lower.set_xlabel("cycles of an image, edge16, predicted")
        figure.suptitle(model)
        figure.tight_layout()
        paths.append(save_picture(figure, images / f"methods-{model}.svg"))
    return paths


def _plot(
    axes: "Axes", groups: Sequence[_Group], get: Callable[[Mapping[str, Any]], float]
) -> None:
    """Draw accuracy against something, a point for each row."""
    for group in groups:
        across = group.mean(get)
        up = group.mean(lambda run: float(100 * run["accuracy_int8"]))
        axes.plot(across, up, "o")
        axes.annotate(group.row, (across, up), xytext=(4, 3), textcoords="offset points")
    axes.set_xscale("log")
    axes.set_ylabel("accuracy, int8, %")
    axes.grid(visible=True, alpha=0.3)
