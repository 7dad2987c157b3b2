"""Accuracy against effective MACs: one network for each tolerance of the winner rates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jpnet_sw.recipe import RecipeConfig
from jpnet_sw.studies.fine_tuning import FineTuning

__all__ = ["measure_tradeoff"]

_TOLERANCES = (0.1, 0.3, 1.0, 3.0, 10.0)


def measure_tradeoff(
    tuning: FineTuning,
    *,
    tolerances: Sequence[float] = (),
    budget: float = 1.0,
) -> dict[str, Any]:
    """Choose winner rates under several tolerances, fine-tune each choice and measure it.

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
    if not 0 < budget <= 1:
        raise ValueError(f"budget must be above 0 and at most 1, not {budget!r}")
    points = []
    for tolerance in sorted({float(tolerance) for tolerance in tolerances or _TOLERANCES}):
        made = tuning.measured(_variant(tuning.run.recipe, tolerance, budget))
        points.append({"tolerance_percent": tolerance, **made})
    return {**tuning.before(), "budget": budget, "points": points}


def _variant(recipe: RecipeConfig, tolerance: float, budget: float) -> RecipeConfig:
    def epochs(count: int) -> int:
        return max(1, round(budget * count))

    return replace(
        recipe,
        name=f"{recipe.name}-tolerance-{tolerance:g}-{budget:g}",
        top_n=replace(
            recipe.top_n, tolerance_percent=tolerance, epochs=epochs(recipe.top_n.epochs)
        ),
        quantise=replace(recipe.quantise, epochs=epochs(recipe.quantise.epochs)),
    )
