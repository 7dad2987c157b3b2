"""Which lane and row each output channel gets."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig

__all__ = ["place_balanced", "place_in_order", "place_spread"]

_ROUNDS = 8
"""Times that all pairs of lanes exchange channels, at most."""

_GAIN = 1e-6
"""What an exchange must gain, in products: more than sums are rounded."""


def place_in_order(channels: int) -> NDArray[np.int32]:
    """Keep the channels' order, as images come and as the result's readers expect it."""
    return np.arange(channels, dtype=np.int32)


def place_balanced(
    work: NDArray[np.float64], config: AcceleratorConfig, ranges: Sequence[int] | None = None
) -> NDArray[np.int32]:
    """Deal output channels so that all multipliers have the same work in every image.

    Channels go, most work first, to the lane with a free row in which they even out the loads
    most; then channels of two lanes are exchanged as long as that shortens the way of the busiest
    lanes. In its lane a channel takes the first free row: channels of one row have similar work, so
    that ranges of rows begin balanced. Then channels are exchanged as long as that shortens the way
    of the busiest lanes of the ranges, which are computed one after the other.

    Parameters
    ----------
    work : float64, shape (oc, loads)
        Products that each channel needs from each cluster in each of some images, of one layer or
        of several.
    config
        The accelerator.
    ranges
        Rows of each range that is computed apart; by default all are computed together.

    Returns
    -------
    int32, shape (oc,)
        Position ``row * lanes + lane``.
    """
    dealt = _deal_to_lanes(work, config)
    if ranges is not None and len(ranges) > 1:
        dealt = _deal_to_ranges(dealt, work, ranges)
    positions = np.zeros(len(work), dtype=np.int32)
    for lane, members in enumerate(dealt):
        positions[members] = np.arange(len(members)) * config.lanes + lane
    return positions


def place_spread(
    work: NDArray[np.float64], demand: NDArray[np.float64], config: AcceleratorConfig
) -> NDArray[np.int32]:
    """Deal the channels of a vector so that the clusters share the next layer's work, too.

    As `place_balanced`, but within their lanes channels are spread over the rows, whose clusters
    read them.

    Parameters
    ----------
    work : float64, shape (oc, loads)
        Products that each channel needs from each cluster in each of some images.
    demand : float64, shape (oc,)
        Work that each output makes for the cluster that will read it.
    config
        The accelerator.

    Returns
    -------
    int32, shape (oc,)
        Position ``row * lanes + lane``.
    """
    rows = -(-len(work) // config.lanes)
    row_clusters, _, _ = config.row_places(np.arange(rows))
    free = [
        [list(np.flatnonzero(row_clusters == cluster)) for cluster in range(config.clusters)]
        for _ in range(config.lanes)
    ]
    dealt = _deal_to_lanes(work, config)
    lane_of = {channel: lane for lane, members in enumerate(dealt) for channel in members}
    load = np.zeros(config.clusters)
    positions = np.zeros(len(work), dtype=np.int32)
    for channel in np.argsort(-demand, kind="stable"):
        lane = lane_of[int(channel)]
        open_clusters = [cluster for cluster in range(config.clusters) if free[lane][cluster]]
        cluster = min(open_clusters, key=lambda cluster: load[cluster])
        load[cluster] += demand[channel]
        positions[channel] = free[lane][cluster].pop(0) * config.lanes + lane
    return positions


def _deal_to_lanes(work: NDArray[np.float64], config: AcceleratorConfig) -> list[list[int]]:
    """Return each lane's channels, those with most work first.

    A channel goes where the sum of squared loads grows least, and is exchanged where that makes the
    sum of the largest loads smaller.
    """
    channels = len(work)
    room = np.full(config.lanes, -(-channels // config.lanes))
    loads = np.zeros((config.lanes, work.shape[1]))
    dealt: list[list[int]] = [[] for _ in range(config.lanes)]
    order = np.argsort(-work.sum(axis=1), kind="stable")
    for channel in order:
        growth = np.where(room > 0, loads @ work[channel], np.inf)
        lane = int(np.argmin(growth))
        dealt[lane].append(int(channel))
        loads[lane] += work[channel]
        room[lane] -= 1
    _even_out(dealt, loads, work, groups=np.zeros(config.lanes, dtype=np.int64))
    return [_by_work(members, work) for members in dealt]


def _deal_to_ranges(
    dealt: Sequence[Sequence[int]], work: NDArray[np.float64], ranges: Sequence[int]
) -> list[list[int]]:
    """Return each lane's channels in the order of rows, exchanged between lanes and ranges."""
    ends = np.cumsum(ranges)
    bins = [
        list(lane[end - rows : end])
        for end, rows in zip(ends, ranges, strict=True)
        for lane in dealt
    ]
    loads = np.stack([work[members].sum(axis=0) for members in bins])
    _even_out(bins, loads, work, groups=np.repeat(np.arange(len(ranges)), len(dealt)))
    return [
        [channel for members in bins[lane :: len(dealt)] for channel in _by_work(members, work)]
        for lane in range(len(dealt))
    ]


def _by_work(members: Sequence[int], work: NDArray[np.float64]) -> list[int]:
    """Return channels, those with most work first."""
    return sorted(members, key=lambda channel: (-work[channel].sum(), channel))


def _even_out(
    bins: Sequence[list[int]],
    loads: NDArray[np.float64],
    work: NDArray[np.float64],
    *,
    groups: NDArray[np.int64],
) -> None:
    """Exchange channels of two bins where that makes the sum of the groups' largest loads smaller.

    Parameters
    ----------
    bins
        Channels of each bin; is changed.
    loads : float64, shape (bins, loads)
        Sums of their work; is changed.
    work : float64, shape (channels, loads)
    groups : int64, shape (bins,)
        Bins of one group are waited for together.
    """
    for _ in range(_ROUNDS):
        exchanged = [
            _exchange(bins, loads, work, pair, groups) for pair in combinations(range(len(bins)), 2)
        ]
        if not any(exchanged):
            break


def _exchange(
    bins: Sequence[list[int]],
    loads: NDArray[np.float64],
    work: NDArray[np.float64],
    pair: tuple[int, int],
    groups: NDArray[np.int64],
) -> bool:
    """Exchange channels of two bins where that helps; return whether it did somewhere."""
    first, second = pair
    rest = np.ones(len(bins), dtype=np.bool_)
    rest[[first, second]] = False
    others = [
        loads[rest & (groups == groups[mine])].max(axis=0, initial=0.0) for mine in (first, second)
    ]
    together = groups[first] == groups[second]

    def cost(of_first: NDArray[np.float64], of_second: NDArray[np.float64]) -> NDArray[np.float64]:
        ways = np.maximum(of_first, others[0])
        if together:
            ways = np.maximum(ways, of_second)
        else:
            ways = ways + np.maximum(of_second, others[1])
        total: NDArray[np.float64] = ways.sum(axis=-1)
        return total

    changed = False
    for place, channel in enumerate(bins[first]):
        if not bins[second]:
            break
        change = work[bins[second]] - work[channel]  # (channels, loads)
        costs = cost(loads[first] + change, loads[second] - change)
        best = int(np.argmin(costs))
        if costs[best] < cost(loads[first], loads[second]) - _GAIN:
            loads[first] += change[best]
            loads[second] -= change[best]
            bins[first][place], bins[second][best] = bins[second][best], channel
            changed = True
    return changed
