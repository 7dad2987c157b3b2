"""Dynamic against static thresholds at equal sparsity, before and after fine-tuning."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jpnet_spec.topn import ThresholdMode
from jpnet_sw.recipe import RateSearch, RecipeConfig
from jpnet_sw.studies.fine_tuning import FineTuning

__all__ = ["compare_thresholds"]

_KINDS = {"dynamic": ThresholdMode.EXACT, "static": ThresholdMode.STATIC}
_EVERYTHING_PERCENT = 100.0
_RATES = (0.5, 0.4, 0.3, 0.2, 0.1)


def compare_thresholds(
    tuning: FineTuning,
    *,
    rates: Sequence[float] = (),
    epochs: int | None = None,
) -> dict[str, Any]:
    """Give all filters one winner rate, by thresholds of each image and by constant ones.

    IPnet, section 4.4 and figure 4. A constant threshold is the median, over training images, of
    those that leave exactly the winners. Networks are quantised, then trained on in integers with
    the thresholds that they are measured with; both kinds with the same budget, at the learning
    rate of the recipe's fine-tuning with filters.

    Parameters
    ----------
    tuning
        Where the networks are made.
    rates
        Winner rates, above 0 and at most 1; none means 0.5, 0.4, 0.3, 0.2 and 0.1.
    epochs
        Of the fine-tuning; None means as many as the run's recipe has with filters and in integers.

    Returns
    -------
    dict
        ``points`` of kind, rate, whether fine-tuned, and what `FineTuning.measured` returns.

    Raises
    ------
    ValueError
        If a rate is out of range, or data or files are missing or damaged.
    """
    recipe = tuning.run.recipe
    passes = recipe.top_n.epochs + recipe.quantise.epochs if epochs is None else epochs
    points = []
    for kind, mode in _KINDS.items():
        for rate in sorted({float(rate) for rate in rates or _RATES}, reverse=True):
            for trained in dict.fromkeys((0, passes)):
                made = tuning.measured(_variant(recipe, kind, mode, rate, trained))
                points.append({"kind": kind, "rate": rate, "epochs": trained, **made})
    return {**tuning.before(), "epochs": passes, "points": points}


def _variant(
    recipe: RecipeConfig, kind: str, mode: ThresholdMode, rate: float, epochs: int
) -> RecipeConfig:
    top_n = replace(
        recipe.top_n,
        epochs=0,
        rates=(rate,),
        tolerance_percent=_EVERYTHING_PERCENT,
        mode=mode,
        layer_modes={},
        search=RateSearch.SCAN,
    )
    return replace(
        recipe,
        name=f"{recipe.name}-{kind}-{rate:g}-{epochs}",
        top_n=top_n,
        quantise=replace(recipe.quantise, epochs=epochs, learning_rate=recipe.top_n.learning_rate),
    )
