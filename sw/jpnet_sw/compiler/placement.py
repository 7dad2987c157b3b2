"""Which lane and row each output channel gets."""

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


def place_balanced(work: NDArray[np.float64], config: AcceleratorConfig) -> NDArray[np.int32]:
    """Deal output channels so that all multipliers have the same work in every image.

    Channels go, most work first, to the lane with a free row in which they even out the loads
    most; then channels of two lanes are exchanged as long as that shortens the way of the busiest
    lanes. In its lane a channel takes the first free row: channels of one row have similar work, so
    that a tile of some rows is balanced too.

    Parameters
    ----------
    work : float64, shape (oc, loads)
        Products that each channel needs from each cluster in each of some images, of one layer or
        of several.
    config
        The accelerator.

    Returns
    -------
    int32, shape (oc,)
        Position ``row * lanes + lane``.
    """
    positions = np.zeros(len(work), dtype=np.int32)
    for lane, members in enumerate(_deal_to_lanes(work, config)):
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
    for _ in range(_ROUNDS):
        exchanged = [
            _exchange(dealt, loads, work, (first, second))
            for first, second in combinations(range(config.lanes), 2)
        ]
        if not any(exchanged):
            break
    rank = np.argsort(order)
    return [sorted(members, key=lambda channel: int(rank[channel])) for members in dealt]


def _exchange(
    dealt: list[list[int]],
    loads: NDArray[np.float64],
    work: NDArray[np.float64],
    lanes: tuple[int, int],
) -> bool:
    """Exchange channels of two lanes where that helps; return whether it did somewhere."""
    first, second = lanes
    others = np.delete(loads, lanes, axis=0).max(axis=0, initial=0.0)
    changed = False
    for place, channel in enumerate(dealt[first]):
        change = work[dealt[second]] - work[channel]  # (channels, loads)
        largest = np.maximum(loads[first] + change, loads[second] - change)
        costs = np.maximum(largest, others).sum(axis=1)
        best = int(np.argmin(costs)) if len(costs) else 0
        now = np.maximum(loads[[first, second]].max(axis=0), others).sum()
        if len(costs) and costs[best] < now - _GAIN:
            loads[first] += change[best]
            loads[second] -= change[best]
            dealt[first][place], dealt[second][best] = dealt[second][best], channel
            changed = True
    return changed
