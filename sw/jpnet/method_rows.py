"""Trains the rows of the methods' table, each into a file of its own."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jpnet.images import load_calibration_images, load_test_images
from jpnet.json_file import read_json, write_json
from jpnet.provenance import provenance
from jpnet_spec.configs import PRESETS

if TYPE_CHECKING:
    from jpnet_spec.network import IntegerNetwork
    from jpnet_sw.comparison import Row

__all__ = ["ROW_KIND", "row_file", "train_rows"]

ROW_KIND = "method-row"
"""Kind of a row's file."""

_PRESET = "edge16"
_CYCLE_IMAGES = 100
"""Where cycles are predicted, and on how many test images."""


def row_file(folder: Path, model: str, row: str, seed: int) -> Path:
    """Return the file of one row's run."""
    return folder / f"{model}-{row}-seed{seed}.json"


def train_rows(
    model: str,
    names: Sequence[str],
    *,
    seeds: Sequence[int],
    budget: float,
    results: Path,
    build: Path,
    data_root: Path | None,
    console: Console,
    warm_start: Path | None = None,
) -> None:
    """Train every row that has no file yet, and write its file.

    A run that was stopped goes on from its last epoch; the dense network of a seed is trained once
    for all rows.

    Parameters
    ----------
    model
        The network.
    names
        Rows; none means all.
    seeds
        One run of each row for each of them.
    budget
        Share of the recipe's epochs.
    results
        Folder of the rows' files.
    build
        Folder of everything that is made.
    data_root
        Folder of the data sets.
    console
        Says which row is trained.
    warm_start
        A trained dense network, which rows of residual networks begin with.

    Raises
    ------
    ValueError
        If a name is unknown, a file is there that was made with another budget, or a trained
        network is missing.
    """
    from jpnet_sw.comparison import find_row, rows_of

    rows = [find_row(model, name) for name in names] or list(rows_of(model))
    for row in rows:
        row.recipe(budget)
        if row.is_warm and warm_start is None:
            raise ValueError(
                f"row {row.name} of {model} must begin with a trained network, --warm-start FILE"
            )
    for seed in seeds:
        for row in rows:
            path = row_file(results, model, row.name, seed)
            if path.is_file():
                made = read_json(path, kind=ROW_KIND, made_by="jpnet table")["budget"]
                if made != budget:
                    raise ValueError(f"{path}: row must have the budget {budget}, not {made!r}")
                continue
            console.print(f"{model} {row.name}, seed {seed}")
            content = _train_row(
                row,
                seed=seed,
                budget=budget,
                folder=build / "table",
                data_root=data_root,
                warm_start=warm_start if row.is_warm else None,
            )
            write_json(path, kind=ROW_KIND, content=content)


def _train_row(
    row: "Row",
    *,
    seed: int,
    budget: float,
    folder: Path,
    data_root: Path | None,
    warm_start: Path | None,
) -> dict[str, Any]:
    """Return the content of a row's file."""
    from jpnet_spec.model_file import load_network
    from jpnet_sw.comparison import row_figures
    from jpnet_sw.recipe import HISTORY_FILE, train

    recipe = row.recipe(budget)
    own = folder / f"{budget:g}" / f"{row.model}-{row.name}-seed{seed}"
    trained = train(
        model=row.model,
        data=row.dataset,
        seed=seed,
        out=own,
        data_root=data_root,
        resume=True,
        recipe=recipe,
        warm_start=warm_start,
        dense=None if row.is_warm else own.with_name(f"{row.model}-dense-seed{seed}.safetensors"),
    )
    network = load_network(trained)
    history = json.loads((own / HISTORY_FILE).read_text())
    return {
        "model": row.model,
        "dataset": row.dataset,
        "row": row.name,
        "method": row.method,
        "seed": seed,
        "budget": budget,
        "epochs": {
            "dense": 0 if row.is_warm else recipe.dense.epochs,
            "prune": recipe.prune.epochs,
            "top_n": recipe.top_n.epochs,
            "quantise": recipe.quantise.epochs,
        },
        "pruning": recipe.settings()["prune"],
        **row_figures(network),
        "cycles": _cycles(network, data_root),
        "cpu_minutes": round(sum(epoch["cpu_seconds"] for epoch in history["epochs"]) / 60, 1),
        "provenance": provenance(seed=seed, data=row.dataset),
    }


def _cycles(network: "IntegerNetwork", data_root: Path | None) -> dict[str, Any]:
    """Return the predicted cycles of an image, back to back, and their bound; none if too large."""
    from jpnet.cycle_count import cycle_counter
    from jpnet_sw.compiler import CompileError

    config = PRESETS[_PRESET]
    images = load_test_images(network, data_root=data_root, count=_CYCLE_IMAGES).images
    macs = sum(int(trace.macs_effective.sum()) for trace in network.run(images).values())
    try:
        calibration = load_calibration_images(network, data_root=data_root)
        found = cycle_counter(config)(network, calibration, images)
    except CompileError:
        return {}
    return {
        "config": _PRESET,
        "images": len(images),
        "an_image": found,
        "bound": macs / len(images) / config.mac_units,
    }
