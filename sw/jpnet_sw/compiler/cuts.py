"""Cutting a sequence into consecutive pieces that fit, as few as possible and of similar size."""

from typing import cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["balanced_cut"]


def balanced_cut(
    sizes: NDArray[np.int64],
    limits: NDArray[np.int64],
    *,
    balanced: slice,
    pieces: int = 1,
    multiple: int = 1,
) -> list[int] | None:
    """Return the end of each piece, or None where a single item does not fit.

    Parameters
    ----------
    sizes : int64, shape (resources, items)
        What each item needs.
    limits : int64, shape (resources,)
        What a piece has.
    balanced
        Resources whose largest sum over a piece becomes as small as possible.
    pieces
        At least so many, as far as there are items.
    multiple
        The number of pieces is a multiple of this, as far as there are items.
    """
    sums = np.concatenate([np.zeros((len(sizes), 1), np.int64), sizes.cumsum(axis=1)], axis=1)
    ends = _greedy(sums, limits)
    if ends is None:
        return None
    wanted = -(-max(len(ends), pieces) // multiple) * multiple
    low, high = 0, int(sums[balanced, -1].max(initial=0))
    while low < high:
        middle = (low + high) // 2
        tighter = limits.copy()
        tighter[balanced] = np.minimum(limits[balanced], middle)
        found = _greedy(sums, tighter)
        if found is not None and len(found) <= wanted:
            ends, high = found, middle
        else:
            low = middle + 1
    return _split(sums[balanced], ends, min(wanted, sizes.shape[1]))


def _greedy(sums: NDArray[np.int64], limits: NDArray[np.int64]) -> list[int] | None:
    """Fill one piece after the other."""
    ends: list[int] = []
    first, count = 0, sums.shape[1] - 1
    while first < count:
        fits = np.all(sums - sums[:, first : first + 1] <= limits[:, None], axis=0)
        end = first + int(np.count_nonzero(fits[first + 1 :]))
        if end == first:
            return None
        ends.append(end)
        first = end
    return ends


def _split(sums: NDArray[np.int64], ends: list[int], wanted: int) -> list[int]:
    """Halve the largest pieces of more than one item until there are enough."""
    while len(ends) < wanted:
        starts = [0, *ends[:-1]]
        piece = max(
            (place for place in range(len(ends)) if ends[place] - starts[place] > 1),
            key=lambda place: cast(
                int, (sums[:, ends[place]] - sums[:, starts[place]]).max(initial=0)
            ),
        )
        first, end = starts[piece], ends[piece]
        half = (sums[:, first] + sums[:, end]) // 2
        middle = int(np.abs(sums[:, first + 1 : end] - half[:, None]).max(axis=0).argmin())
        ends = [*ends[:piece], first + 1 + middle, *ends[piece:]]
    return ends
