"""Accuracy against effective MACs: one network for each tolerance of the winner rates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jpnet_sw.recipe import RecipeConfig
from jpnet_sw.recipe.choices import shortened
from jpnet_sw.studies.fine_tuning import FineTuning

__all__ = ["measure_tradeoff"]

_TOLERANCES = (0.1, 0.3, 1.0, 3.0, 10.0)
_FURTHER_RATES = 6
"""Candidates below the recipe's lowest, each two thirds of the one before."""


def measure_tradeoff(
    tuning: FineTuning,
    *,
    tolerances: Sequence[float] = (),
    budget: float = 1.0,
) -> dict[str, Any]:
    """Choose winner rates under several tolerances, fine-tune each choice and measure it.

    Candidates are the recipe's winner rates and lower ones.

    Parameters
    ----------
    tuning
        Where the networks are made.
    tolerances
        Of the choice, in percentage points, see `jpnet_sw.recipe.FilterConfig`;
        none means 0.1, 0.3, 1, 3 and 10.
    budget
        Share of the recipe's epochs with filters and in integers; at least one of each.

    Returns
    -------
    dict
        ``points`` of tolerance and what `FineTuning.measured` returns.

    Raises
    ------
    ValueError
        If budget or a tolerance are out of range, or data or files are missing or damaged.
    """
    points = []
    for tolerance in sorted({float(tolerance) for tolerance in tolerances or _TOLERANCES}):
        made = tuning.measured(_variant(tuning.run.recipe, tolerance, budget))
        points.append({"tolerance_percent": tolerance, **made})
    return {**tuning.before(), "budget": budget, "points": points}


def _variant(recipe: RecipeConfig, tolerance: float, budget: float) -> RecipeConfig:
    lowest = min(recipe.top_n.rates)
    further = (round(lowest * (2 / 3) ** place, 4) for place in range(1, _FURTHER_RATES + 1))
    rates = (*recipe.top_n.rates, *(rate for rate in further if rate > 0))
    named = replace(
        recipe,
        name=f"{recipe.name}-tolerance-{tolerance:g}-{budget:g}",
        top_n=replace(recipe.top_n, tolerance_percent=tolerance, rates=rates),
    )
    return shortened(named, budget, ("top_n", "quantise"))
