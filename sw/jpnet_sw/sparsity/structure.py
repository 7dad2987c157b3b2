"""What is pruned as one: single weights or whole filters, equal shares of lanes, blocks."""

from enum import StrEnum
from math import ceil, log2

import torch
from torch import Tensor

from jpnet_sw.sparsity.selector import densest, kept_count

__all__ = [
    "Structure",
    "balanced_mask",
    "block_max_mask",
    "block_sizes",
    "from_lists",
    "group_scores",
    "to_lists",
    "widen",
]


class Structure(StrEnum):
    """What lives and dies together."""

    ELEMENT = "element"
    """Each weight for itself."""
    FILTER = "filter"
    """All weights of an output channel or neuron, with bias and batch normalisation."""


def group_scores(score: Tensor, structure: Structure) -> Tensor:
    """Return the mean score of each group, for single weights the scores themselves.

    Parameters
    ----------
    score : shape (oc, ...)

    Returns
    -------
    shape (oc, ...) or, for filters, (oc,)
    """
    return score if structure is Structure.ELEMENT else score.flatten(start_dim=1).mean(dim=1)


def widen(groups: Tensor, weight: Tensor) -> Tensor:
    """Return one value per weight from one value per group, a view.

    Parameters
    ----------
    groups : the weight's shape or (oc,)
    """
    if groups.shape == weight.shape:
        return groups
    return groups.reshape(-1, *(1,) * (weight.ndim - 1)).expand_as(weight)


def balanced_mask(score: Tensor, density: float, lanes: int) -> Tensor:
    """Return a mask, float32, with the same number of living weights in every lane.

    Output channel c belongs to lane ``c % lanes``. Where lanes own unequal numbers of channels,
    the count per channel is the same, rounded down to whole weights of the lane.

    Parameters
    ----------
    score : shape (oc, ...)
    density
        Share of living weights, above 0.
    lanes
        0 gives every output channel its own.
    """
    rows = score.flatten(start_dim=1)
    count = len(rows) if lanes == 0 else min(lanes, len(rows))
    mask = torch.zeros_like(rows)
    for lane in range(count):
        own = rows[lane::count]
        mask[lane::count] = densest(own, density)
    return mask.reshape(score.shape)


def _rows(score: Tensor) -> Tensor:
    return score.flatten(start_dim=1)


def to_lists(score: Tensor, lanes: int) -> Tensor:
    """Return scores as the accelerator holds weights: what each input meets, lane after lane.

    Output channel c belongs to lane ``c % lanes``; channels that lanes lack score -1.

    Parameters
    ----------
    score : shape (oc, ...)
    lanes
        Of a group.

    Returns
    -------
    shape (inputs, lanes * ceil(oc / lanes))
    """
    rows = _rows(score)
    most = -(-len(rows) // lanes)
    padded = rows.new_full((most * lanes, rows.shape[1]), -1.0)
    padded[: len(rows)] = rows
    return padded.reshape(most, lanes, -1).permute(2, 1, 0).flatten(start_dim=1)


def from_lists(lists: Tensor, lanes: int, shape: torch.Size) -> Tensor:
    """Return values in the order of the weights from the order of `to_lists`.

    Parameters
    ----------
    lists : shape (inputs, lanes * ceil(oc / lanes))
    lanes
        Of a group.
    shape
        Of the weights.
    """
    rows = lists.reshape(len(lists), lanes, -1).permute(2, 1, 0).flatten(end_dim=1)
    return rows[: shape[0]].reshape(shape)


def block_max_mask(score: Tensor, sizes: Tensor, *, parts: int = 1) -> Tensor:
    """Return a mask, float32, of the largest score in each block of each row.

    A row is an output channel's weights in memory order. Its last block may be shorter. Of equal
    scores the first one lives.

    Parameters
    ----------
    score : at least -1, shape (oc, ...)
    sizes : int64, shape (oc,)
        Block size of each row, powers of two.
    parts
        Equal parts of a row, from one to the next of which no block reaches.
    """
    rows = _rows(score).reshape(parts * len(score), -1)
    sizes = sizes.repeat_interleave(parts)
    mask = torch.zeros_like(rows)
    for size in sorted(set(sizes.tolist())):
        chosen = sizes == size
        blocks = -(-rows.shape[1] // size)
        # Pads score below everything, so they are never the largest.
        padded = rows.new_full((int(chosen.sum()), blocks * size), -2.0)
        padded[:, : rows.shape[1]] = rows[chosen]
        best = padded.reshape(-1, blocks, size).argmax(dim=2)  # (rows, blocks)
        columns = best + size * torch.arange(blocks, device=rows.device)
        mask[chosen] = torch.zeros_like(rows[chosen]).scatter(1, columns, 1.0)
    return mask.reshape(score.shape)


def block_sizes(score: Tensor, density: float, *, largest_size: int = 0, parts: int = 1) -> Tensor:
    """Return each row's block size, int64 powers of two, from its density under free pruning.

    Reconstruction of DARB (AAAI 2020): rows that keep many of the layer's largest scores get small
    blocks. One factor on all ideal sizes is bisected until as many weights live as can within the
    budget.

    Parameters
    ----------
    score : at least 0, shape (oc, ...)
    density
        Share of weights that may live, above 0.
    largest_size
        Power of two; 0 allows blocks as long as a row, or a part of one.
    parts
        As in `block_max_mask`.

    Raises
    ------
    ValueError
        If even the largest blocks keep more than the budget.
    """
    rows = _rows(score)
    columns = rows.shape[1]
    most = ceil(log2(columns // parts)) if largest_size == 0 else int(log2(largest_size))
    budget = kept_count(density, rows.numel())
    survivors = _rows(densest(score, density)).sum(dim=1).double() / columns

    def sizes(factor: float) -> Tensor:
        wanted = -(survivors * factor).clamp_min(1e-12).log2()
        exponent = wanted.round().clamp(0, most).long()
        return torch.where(survivors == 0, most, exponent)

    def living(factor: float) -> int:
        return parts * int((-(-(columns // parts) // 2 ** sizes(factor))).sum())

    low, high = 0.0, 1.0
    if living(low) > budget:
        raise ValueError(
            f"density must be at least {living(low) / rows.numel():g} for {len(rows)} rows of "
            f"{columns} weights in blocks of at most {2**most}, not {density!r}"
        )
    while living(high) <= budget and high < 2.0**40:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if living(middle) <= budget else (low, middle)
    return 2 ** sizes(low)
