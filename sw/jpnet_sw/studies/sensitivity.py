"""Accuracy against the winner rate of one layer, or group of layers, at a time."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from jpnet_sw.metrics import accuracy
from jpnet_sw.recipe.images import split_held_out
from jpnet_sw.recipe.threads import one_thread
from jpnet_sw.sparsity.sensitivity import choose_winner_rates
from jpnet_sw.studies.pruned_run import PrunedRun

__all__ = ["measure_sensitivity"]

_EVERYTHING_PERCENT = 100.0


def measure_sensitivity(
    run: PrunedRun,
    *,
    rates: Sequence[float] = (),
    data_root: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure what each winner rate costs the weight-pruned network before any fine-tuning.

    IPnet, section 3.2 and figure 5: one group's filters are on, all others pass everything.

    Parameters
    ----------
    run
        Whose weight-pruned network.
    rates
        Winner rates, above 0 and at most 1; none means those of the run's recipe.
    data_root
        Folder of the data sets.
    quiet
        Show no progress.

    Returns
    -------
    dict
        ``points`` of a group's name, rate and accuracy in percent, on the held-out images; the
        accuracy without filters; and the recipe's tolerance.

    Raises
    ------
    ValueError
        If a rate is out of range, or data or files are missing or damaged.
    """
    wanted = sorted({float(rate) for rate in rates or run.recipe.top_n.rates}, reverse=True)
    if not all(0 < rate <= 1 for rate in wanted):
        raise ValueError(f"winner rates must be above 0 and at most 1, not {wanted!r}")
    dataset = run.dataset(data_root)
    state = run.state(dataset)
    images = split_held_out(dataset, run.recipe, state.device)
    filters = {layer.name: layer.top_n for layer in state.layers if layer.top_n is not None}
    groups = run.recipe.grouped(filters)
    with one_thread(), Progress(console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("sensitivity", total=1 + len(groups) * len(wanted))

        def measured() -> float:
            found = accuracy(state.model, images.held_out_images, images.held_out_labels)
            progress.advance(bar)
            return 100 * found

        _, scan = choose_winner_rates(
            filters, state.elements, wanted, _EVERYTHING_PERCENT, measured, groups=groups
        )
    return {
        "unfiltered_percent": 100 * state.facts["held_out_accuracy_weight_pruned"],
        "tolerance_percent": run.recipe.top_n.tolerance_percent,
        "images": len(images.held_out_labels),
        "points": [asdict(point) for point in scan],
    }
