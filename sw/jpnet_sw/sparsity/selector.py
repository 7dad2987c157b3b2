"""Which of the scored weights or groups live."""

from collections.abc import Mapping
from enum import StrEnum

import torch
from torch import Tensor

__all__ = [
    "Scope",
    "Selector",
    "densest",
    "hysteresis",
    "kept_count",
    "largest",
    "select",
    "with_best",
]


class Selector(StrEnum):
    """How the border between living and pruned is drawn."""

    COUNT = "count"
    """Exactly the wanted number of largest scores; ties go to the first."""
    QUANTILE = "quantile"
    """Scores of at least the quantile of the wanted density; ties all live."""
    THRESHOLD = "threshold"
    """Scores of at least a given value."""
    SPREAD = "spread"
    """Scores of at least a given multiple of the scores' root mean square (for weights of mean 0
    their standard deviation)."""


class Scope(StrEnum):
    """What is compared with what."""

    LAYER = "layer"
    """The scores of one layer: each has its own density."""
    GLOBAL = "global"
    """The scores of all layers: the densities of layers come out."""


def kept_count(density: float, elements: int) -> int:
    """Return how many of a number of elements a density keeps: rounded down, at least 1."""
    return max(1, int(density * elements))


def largest(score: Tensor, keep: int) -> Tensor:
    """Return a mask, float32 of the scores' shape, of exactly the `keep` largest scores.

    Of equal scores the first ones are kept.
    """
    order = score.flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(score.numel(), device=score.device)
    mask[order[:keep]] = 1
    return mask.reshape(score.shape)


def densest(score: Tensor, density: float) -> Tensor:
    """Return a mask, float32 of the scores' shape, of the largest scores at a density."""
    return largest(score, kept_count(density, score.numel()))


def hysteresis(mask: Tensor, score: Tensor, low: float, high: float) -> Tensor:
    """Return a mask in which scores up to `low` die, above `high` revive; between, nothing changes.

    Parameters
    ----------
    mask, score : float, the same shape
    """
    kept = torch.where(score <= low, torch.zeros_like(mask), mask)
    return torch.where(score > high, torch.ones_like(mask), kept)


def with_best(mask: Tensor, score: Tensor) -> Tensor:
    """Return a mask in which the largest score lives, too, so that a layer is never cut whole."""
    best = torch.zeros_like(mask).flatten()
    best[score.argmax()] = 1
    return torch.maximum(mask, best.reshape(mask.shape))


def _select_one(
    score: Tensor, raised: Tensor, density: float, selector: Selector, value: float
) -> Tensor:
    if selector is Selector.COUNT:
        return densest(raised, density)
    border = value
    if selector is Selector.SPREAD:
        border *= float(score.square().mean().sqrt())
    elif selector is Selector.QUANTILE:
        # The k-th largest itself; torch's quantile would interpolate and refuse long inputs.
        place = score.numel() - kept_count(density, score.numel())
        border = float(raised.flatten().sort().values[place])
    return (raised >= border).float()


def select(
    scores: Mapping[str, Tensor],
    densities: Mapping[str, float],
    *,
    selector: Selector = Selector.COUNT,
    scope: Scope = Scope.LAYER,
    value: float = 0.0,
    keep_rows: bool = False,
) -> dict[str, Tensor]:
    """Return each layer's mask, float32 of its scores' shape.

    Parameters
    ----------
    scores : layer name to scores, at least 0, first axis the rows
    densities
        Layer name to share that lives; with the scope GLOBAL their mean over all scores counts.
    selector, scope
        How and among which scores.
    value
        Of the selectors THRESHOLD and SPREAD.
    keep_rows
        Whether each row's largest score lives in any case; the exact count then includes it.
    """
    raised = {name: _raise_best_of_rows(s) for name, s in scores.items()} if keep_rows else scores
    if scope is Scope.LAYER:
        return {
            name: _select_one(score, raised[name], densities[name], selector, value)
            for name, score in scores.items()
        }
    wanted = sum(densities[name] * score.numel() for name, score in scores.items())
    flat, flat_raised = (
        torch.cat([score.flatten() for score in kind.values()]) for kind in (scores, raised)
    )
    chosen = _select_one(flat, flat_raised, wanted / flat.numel(), selector, value)
    parts = torch.split(chosen, [score.numel() for score in scores.values()])
    return {
        name: part.reshape(score.shape)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }


def _raise_best_of_rows(score: Tensor) -> Tensor:
    rows = score.flatten(start_dim=1).clone()
    best = rows.argmax(dim=1, keepdim=True)
    return rows.scatter(1, best, torch.finfo(rows.dtype).max).reshape(score.shape)
