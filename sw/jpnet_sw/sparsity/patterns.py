"""Sets of masks that a layer's hardware likes: what a density leaves of the scores in each."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from torch import Tensor

from jpnet_sw.sparsity.selector import densest
from jpnet_sw.sparsity.structure import balanced_mask, block_max_mask, block_sizes

__all__ = ["Pattern", "each_layer", "pattern_mask"]


class Pattern(StrEnum):
    """Where living weights may be."""

    COUNT = "count"
    """The layer's number of living weights, anywhere."""
    DARB = "darb"
    """One weight in each block, block sizes by row."""
    LANES = "lanes"
    """The same number in every output channel."""


def pattern_mask(pattern: Pattern, score: Tensor, density: float) -> Tensor:
    """Return the mask of a pattern, float32, that keeps the largest scores.

    Parameters
    ----------
    score : at least 0, shape (oc, ...)
    density
        Share of living weights.

    Raises
    ------
    ValueError
        If the pattern has no mask of so low a density.
    """
    if pattern is Pattern.DARB:
        return block_max_mask(score, block_sizes(score, density))
    if pattern is Pattern.LANES:
        return balanced_mask(score, density, 0)
    return densest(score, density)


def each_layer(
    rule: Callable[[Tensor, float], Tensor],
    scores: Mapping[str, Tensor],
    densities: Mapping[str, float],
) -> dict[str, Tensor]:
    """Return what a rule of scores and density gives for each layer.

    Raises
    ------
    ValueError
        If it refuses one; the message names the layer.
    """
    found = {}
    for name, score in scores.items():
        try:
            found[name] = rule(score, densities[name])
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from error
    return found
