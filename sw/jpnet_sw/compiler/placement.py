"""Which lane and row each output channel gets."""

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig

__all__ = ["place_balanced", "place_in_order", "place_spread"]

_EXCHANGE_ROUNDS = 8
"""How often every channel is offered for an exchange, at most."""
_LEAST_GAIN = 1e-6
"""Share of the load that an exchange must save."""


def place_in_order(channels: int) -> NDArray[np.int32]:
    """Keep the channels' order, as images come and as the result's readers expect it."""
    return np.arange(channels, dtype=np.int32)


def place_balanced(work: NDArray[np.float64], config: AcceleratorConfig) -> NDArray[np.int32]:
    """Deal output channels so that all multipliers expect the same work.

    Channels go, most work first, to the lane with a free row in which they even out the clusters'
    multipliers most, and there to the first free row: channels of one row have similar work, so
    that a tile of some rows is balanced too.

    Parameters
    ----------
    work : float64, shape (oc, shares)
        Products that each channel needs from each cluster, of one layer or of several.
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
    work : float64, shape (oc, clusters)
        Products that each channel needs from each cluster.
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
    """Return each lane's channels.

    A channel, most work first, goes where the sum of squared loads grows least; then channels of
    different lanes are exchanged as long as the busiest lanes' loads, summed over the shares, fall.
    """
    channels = len(work)
    room = np.full(config.lanes, -(-channels // config.lanes))
    loads = np.zeros((config.lanes, work.shape[1]))
    lane_of = np.zeros(channels, dtype=np.int64)
    order = np.argsort(-work.sum(axis=1), kind="stable")
    for channel in order:
        growth = np.where(room > 0, loads @ work[channel], np.inf)
        lane = int(np.argmin(growth))
        lane_of[channel] = lane
        loads[lane] += work[channel]
        room[lane] -= 1
    for _ in range(_EXCHANGE_ROUNDS):
        exchanged = [_exchange(int(channel), work, loads, lane_of) for channel in order]
        if not any(exchanged):
            break
    return [[int(c) for c in order if lane_of[c] == lane] for lane in range(config.lanes)]


def _exchange(
    channel: int,
    work: NDArray[np.float64],
    loads: NDArray[np.float64],
    lane_of: NDArray[np.int64],
) -> bool:
    """Exchange a channel with the one of another lane that helps most; return whether one does."""
    mine = lane_of[channel]
    others = np.flatnonzero(lane_of != mine)
    if not len(others):
        return False
    theirs = lane_of[others]
    gain = work[others] - work[channel]  # (others, shares)
    changed = np.broadcast_to(loads, (len(others), *loads.shape)).copy()
    changed[:, mine] += gain
    changed[np.arange(len(others)), theirs] -= gain
    costs = changed.max(axis=1).sum(axis=1)
    best = int(np.argmin(costs))
    if costs[best] >= loads.max(axis=0).sum() * (1 - _LEAST_GAIN):
        return False
    loads[:] = changed[best]
    lane_of[channel], lane_of[others[best]] = theirs[best], mine
    return True
