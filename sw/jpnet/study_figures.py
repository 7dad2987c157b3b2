"""Pictures of studies."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jpnet.picture import save_picture
from jpnet.study_file import Study

__all__ = ["draw_study"]

_COLOURS = {"dense": "#8d99ae", "weight-pruned": "#e9c46a", "joint": "#2a6f97"}
_THRESHOLD_COLOURS = {"dynamic": "#2a6f97", "static": "#e76f51"}
_REFERENCE = "#8d99ae"


_FEW_LAYERS = 8
"""As many names stand beside each other."""


def _grid(axes: Axes, *, across: str, up: str, title: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.3)


def _log_ticks(axes: Axes, places: Iterable[float]) -> None:
    """Make the horizontal axis logarithmic, with plain numbers at some places."""
    ticks = sorted(set(places))
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def _sensitivity(content: Mapping[str, Any], figure: Figure) -> None:
    axes = figure.subplots()
    before = content["unfiltered_percent"]
    for group in dict.fromkeys(point["layer"] for point in content["points"]):
        mine = [point for point in content["points"] if point["layer"] == group]
        across = [point["rate"] for point in mine]
        axes.plot(across, [point["accuracy_percent"] for point in mine], "o-", label=group)
    axes.axhline(before, color=_REFERENCE, linestyle=":", label="no filter")
    axes.axhline(
        before - content["tolerance_percent"],
        color=_REFERENCE,
        linestyle="--",
        label="the recipe's tolerance",
    )
    _log_ticks(axes, (point["rate"] for point in content["points"]))
    axes.legend(fontsize="small")
    _grid(
        axes,
        across="winner rate of one group of layers",
        up="accuracy on held-out images, %",
        title=f"{content['model']}, weight-pruned, no fine-tuning",
    )


def _thresholds(content: Mapping[str, Any], figure: Figure) -> None:
    axes = figure.subplots()
    for kind, colour in _THRESHOLD_COLOURS.items():
        for trained, style in ((False, "o--"), (True, "o-")):
            mine = [
                point
                for point in content["points"]
                if point["kind"] == kind and (point["epochs"] > 0) == trained
            ]
            when = "fine-tuned" if trained else "before fine-tuning"
            across = [point["activation_percent"] for point in mine]
            up = [point["accuracy_percent"] for point in mine]
            axes.plot(across, up, style, color=colour, label=f"{kind}, {when}")
    reference = content["weight_pruned_accuracy_percent"]
    axes.axhline(reference, color=_REFERENCE, linestyle=":", label="no filter")
    axes.legend(fontsize="small")
    _grid(
        axes,
        across="non-zero activations, %",
        up="accuracy of the integer network on test images, %",
        title=f"{content['model']}: thresholds of each image and constant ones",
    )


def _sampling(content: Mapping[str, Any], figure: Figure) -> None:
    axes = figure.subplots()
    exact = content["exact"]["accuracy_percent"]
    for layer in dict.fromkeys(point["layer"] for point in content["points"]):
        mine = [point for point in content["points"] if point["layer"] == layer]
        across = [100.0, *(point["sampled_percent"] for point in mine)]
        axes.plot(
            across, [exact, *(point["accuracy_percent"] for point in mine)], "o-", label=layer
        )
    _log_ticks(axes, (100.0, *(point["sampled_percent"] for point in content["points"])))
    axes.invert_xaxis()
    axes.legend(fontsize="small")
    _grid(
        axes,
        across="elements that tell the threshold, %",
        up="accuracy of the integer network, %",
        title=f"{content['model']}: thresholds from samples, no fine-tuning",
    )


def _histograms(content: Mapping[str, Any], figure: Figure) -> None:
    for axes, layer in zip(
        figure.subplots(len(content["layers"]), 1, squeeze=False).ravel(),
        content["layers"],
        strict=True,
    ):
        for kind, found in layer["networks"].items():
            label = f"{kind}, {found['zero_percent']:.1f} % zeros"
            axes.stairs(found["percent"], layer["edges"], color=_COLOURS[kind], label=label)
        axes.set_yscale("log")
        axes.legend(fontsize="small")
        _grid(
            axes,
            across="activation that is not zero",
            up="share of all, %",
            title=f"{content['model']}, {layer['name']}",
        )


def _densities(content: Mapping[str, Any], figure: Figure) -> None:
    axes, total = figure.subplots(1, 2, width_ratios=(3, 1))
    layers = content["layers"]
    for index, (kind, colour) in enumerate(_COLOURS.items()):
        shift = 0.27 * (index - 1)
        places = [place + shift for place in range(len(layers))]
        axes.bar(places, [layer[kind] for layer in layers], 0.27, color=colour, label=kind)
        shares = [content["activation_percent"][kind], content["mac_percent"][kind]]
        bars = total.bar([0 + shift, 1 + shift], shares, 0.27, color=colour, label=kind)
        total.bar_label(bars, fmt="{:.3g}", fontsize="x-small")
    axes.set_xticks(
        range(len(layers)),
        [layer["name"] for layer in layers],
        rotation=0 if len(layers) <= _FEW_LAYERS else 90,
        fontsize="medium" if len(layers) <= _FEW_LAYERS else "x-small",
    )
    axes.legend(fontsize="small")
    total.set_xticks([0, 1], ["activations", "MACs"])
    _grid(axes, across="", up="non-zero outputs, %", title=content["model"])
    _grid(total, across="", up="all layers, %", title="")


def _tradeoff(content: Mapping[str, Any], figure: Figure) -> None:
    axes = figure.subplots()
    points = content["points"]
    across = [point["mac_percent"] for point in points]
    up = [point["accuracy_percent"] for point in points]
    axes.plot(across, up, "o-", color=_COLOURS["joint"], label="joint, int8")
    for point, place in zip(points, zip(across, up, strict=True), strict=True):
        axes.annotate(
            f"{point['tolerance_percent']:g}",
            place,
            xytext=(4, 4),
            textcoords="offset points",
            fontsize="x-small",
        )
    axes.plot(
        [content["weight_pruned_mac_percent"]],
        [content["weight_pruned_accuracy_percent"]],
        "s",
        color=_COLOURS["weight-pruned"],
        label="weight-pruned",
    )
    axes.axhline(content["dense_accuracy_percent"], color=_REFERENCE, linestyle=":", label="dense")
    axes.legend(fontsize="small")
    _grid(
        axes,
        across="effective MACs, % of dense",
        up="accuracy on test images, %",
        title=f"{content['model']}: one network for each tolerance",
    )


_DRAW: Mapping[Study, Callable[[Mapping[str, Any], Figure], None]] = {
    Study.SENSITIVITY: _sensitivity,
    Study.THRESHOLDS: _thresholds,
    Study.SAMPLING: _sampling,
    Study.HISTOGRAMS: _histograms,
    Study.DENSITIES: _densities,
    Study.TRADEOFF: _tradeoff,
}


def draw_study(content: Mapping[str, Any], path: Path) -> Path:
    """Draw a study and return the picture's path.

    Parameters
    ----------
    content
        Of a study's file.
    path
        Its ending, ``.svg`` or ``.png``, says the format.
    """
    rows = len(content["layers"]) if content["study"] == Study.HISTOGRAMS else 0
    figure = Figure(figsize=(8, max(4.5, 2.8 * rows)), layout="constrained")
    _DRAW[Study(content["study"])](content, figure)
    return save_picture(figure, path)
