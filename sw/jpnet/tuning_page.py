"""What a search found, as Markdown and as a picture: `python -m jpnet.tuning_page`."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, log
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jpnet.json_file import read_json
from jpnet.page import put_between
from jpnet.picture import save_picture
from jpnet.tuning import TUNE_KIND
from jpnet_spec.artefact import atomic_path

__all__ = [
    "BEGIN",
    "END",
    "cycles_at",
    "cycles_at_equal_accuracy",
    "draw_searches",
    "main",
    "page_part",
    "read_searches",
    "tuning_table",
]

BEGIN, END = "<!-- tune -->\n", "<!-- end of tune -->\n"
"""Lines of a page between which the tables stand."""
_HEAD = (
    "| search | held-out, int8 | test, int8 | effective MACs | cycles an image "
    "| cycles of joint and of this at equal accuracy |"
)
_COLOURS = {"joint": "#2a6f97", "one-rate": "#e9c46a", "uniform": "#e76f51"}


def read_searches(path: Path) -> dict[str, Any]:
    """Return the content of a results' file.

    Raises
    ------
    ArtefactError
        If it is missing or damaged.
    """
    return read_json(path, kind=TUNE_KIND, made_by="jpnet tune")


def _tried(search: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return cycles and accuracy of every round with a prediction, fewest cycles first."""
    return sorted(
        (found["cycles"], found["accuracy_percent"])
        for found in search["rounds"]
        if found["cycles"] is not None
    )


def cycles_at(search: Mapping[str, Any], accuracy_percent: float) -> float | None:
    """Return the cycles with which a search reaches at least an accuracy.

    Between the rounds that no other one beats in both, the logarithm of the cycles is taken to be
    linear in the accuracy.

    Parameters
    ----------
    search
        Of the results' file.
    accuracy_percent
        Held-out, after a round's training.

    Returns
    -------
    float or None
        None where no round with a prediction reaches it.
    """
    best: list[tuple[float, float]] = []
    for cycles, accuracy in _tried(search):
        if not best or accuracy > best[-1][1]:
            best.append((cycles, accuracy))
    if best and accuracy_percent <= best[0][1]:
        return best[0][0]
    for (fewer, low), (more, high) in pairwise(best):
        if low <= accuracy_percent <= high:
            share = (accuracy_percent - low) / (high - low)
            return exp(log(fewer) + share * (log(more) - log(fewer)))
    return None


def cycles_at_equal_accuracy(
    joint: Mapping[str, Any], other: Mapping[str, Any]
) -> tuple[float, float, float]:
    """Return an accuracy in percent, and the cycles with which two searches reach it.

    The accuracy is that of the joint search's chosen round, or the highest one that the other
    search reaches, if that is lower.

    Parameters
    ----------
    joint, other
        Of the results' file.
    """
    chosen = joint["rounds"][joint["chosen"] - 1]["accuracy_percent"]
    accuracy = min(chosen, max(accuracy for _, accuracy in _tried(other)))
    mine, its = cycles_at(joint, accuracy), cycles_at(other, accuracy)
    assert mine is not None
    assert its is not None
    return accuracy, mine, its


def _row(search: Mapping[str, Any], joint: Mapping[str, Any]) -> str:
    equal = "-"
    if search is not joint:
        accuracy, mine, its = cycles_at_equal_accuracy(joint, search)
        saved = 100 * (1 - mine / its)
        equal = f"{mine:,.0f} and {its:,.0f} at {accuracy:.2f} %: {saved:.0f} % fewer"
    held_out, test = search["held_out_percent"], search["test_percent"]
    cells = [
        search["family"],
        f"{held_out['int8']:.2f} %" + ("" if search["within"] else ", outside the tolerance"),
        f"{test['int8']:.2f} %",
        f"{search['macs_effective']:,.0f}",
        f"{search['cycles']:,.0f}",
        equal,
    ]
    return f"| {' | '.join(cells)} |"


def _densities(search: Mapping[str, Any]) -> str:
    rates = search["winner_rates"]
    cells = [
        f"{100 * layer['weight_density']:.2f} / "
        + (f"{100 * rates[layer['name']]:.1f}" if layer["name"] in rates else "-")
        for layer in search["layers"]
    ]
    return f"| {search['family']} | {' | '.join(cells)} |"


def tuning_table(content: Mapping[str, Any]) -> str:
    """Return the tables: what each search found, and its densities and winner rates.

    Parameters
    ----------
    content
        Of the results' file.
    """
    searches, budget = content["searches"], content["budget"]
    joint = searches[0]
    names = [layer["name"] for layer in joint["layers"]]
    about = (
        f"{content['model']} on {content['dataset']}, {content['config']}, tolerance "
        f"{budget['tolerance_percent']:g} points, seed {content['seed']}. The dense network has "
        f"{joint['held_out_percent']['dense']:.2f} % on the held-out images, "
        f"{joint['test_percent']['dense']:.2f} % on the test images. Budget of each search: "
        f"{budget['rounds']} rounds of {budget['epochs']} epochs, {budget['final_epochs']} epochs "
        "in integers."
    )
    lines = [
        about,
        "",
        _HEAD,
        "| --- |" + " ---: |" * 5,
        *(_row(search, joint) for search in searches),
        "",
        "Weight density / winner rate of each layer, in percent:",
        "",
        f"| search | {' | '.join(names)} |",
        "| --- |" + " ---: |" * len(names),
        *map(_densities, searches),
    ]
    return "\n".join(lines) + "\n"


def page_part(content: Mapping[str, Any], picture: str) -> str:
    """Return what a page has between its markers: the picture and the tables.

    Parameters
    ----------
    content
        Of the results' file.
    picture
        Its path, seen from the page.
    """
    return f"![accuracy against cycles of all rounds]({picture})\n\n{tuning_table(content)}"


def draw_searches(content: Mapping[str, Any], path: Path) -> Path:
    """Draw accuracy against cycles of everything that was tried, as an SVG or PNG.

    Parameters
    ----------
    content
        Of the results' file.
    path
        Of the picture.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    dense = content["searches"][0]["held_out_percent"]["dense"]
    floor = dense - content["budget"]["tolerance_percent"]
    for search in content["searches"]:
        colour = _COLOURS[search["family"]]
        across, up = zip(*_tried(search), strict=True)
        axes.plot(across, up, "o-", color=colour, label=f"{search['family']}: rounds", alpha=0.7)
        found = search["held_out_percent"]["int8"]
        label = f"{search['family']}: {search['cycles']:,.0f} cycles"
        axes.plot([search["cycles"]], [found], "*", color=colour, markersize=16, label=label)
    axes.axhline(dense, color="#8d99ae", linestyle=":", label="dense")
    axes.axhline(floor, color="#8d99ae", linestyle="--", label="tolerance")
    axes.set_xscale("log")
    axes.set_ylim(floor - 4 * (dense - floor) - 0.1, dense + 0.2)
    axes.set_xlabel("cycles an image, predicted")
    axes.set_ylabel("accuracy on held-out images, %")
    axes.set_title(f"{content['model']} on {content['config']}")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    return save_picture(figure, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Put a results' tables into a page and draw its picture."""
    parser = argparse.ArgumentParser(prog="python -m jpnet.tuning_page", description=__doc__)
    parser.add_argument("results", type=Path, help="file that jpnet tune wrote")
    parser.add_argument("--page", type=Path, required=True, help="page that gets the tables")
    parser.add_argument("--image", type=Path, required=True, help="picture to draw")
    options = parser.parse_args(arguments)
    content = read_searches(options.results)
    picture = Path(os.path.relpath(options.image, options.page.parent)).as_posix()
    part = page_part(content, picture)
    text = put_between(options.page.read_text(), part, begin=BEGIN, end=END)
    with atomic_path(options.page) as temporary:
        temporary.write_text(text)
    draw_searches(content, options.image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
