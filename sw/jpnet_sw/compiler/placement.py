"""Which lane and row each output channel gets."""

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig

__all__ = ["place_balanced", "place_in_order", "place_spread"]


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
    work : float64, shape (oc, clusters)
        Products that each channel needs from each cluster.
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
    """Return each lane's channels; a channel goes where the sum of squared loads grows least."""
    channels = len(work)
    room = np.full(config.lanes, -(-channels // config.lanes))
    loads = np.zeros((config.lanes, work.shape[1]))
    dealt: list[list[int]] = [[] for _ in range(config.lanes)]
    for channel in np.argsort(-work.sum(axis=1), kind="stable"):
        growth = np.where(room > 0, loads @ work[channel], np.inf)
        lane = int(np.argmin(growth))
        dealt[lane].append(int(channel))
        loads[lane] += work[channel]
        room[lane] -= 1
    return dealt
