"""Which lane and row each output channel gets."""

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.network import Layer

__all__ = ["place_balanced", "place_in_order"]


def place_in_order(channels: int) -> NDArray[np.int32]:
    """Keep the channels' order, as the result's readers expect it."""
    return np.arange(channels, dtype=np.int32)


def place_balanced(
    layer: Layer,
    config: AcceleratorConfig,
    *,
    input_clusters: NDArray[np.int64],
    input_activity: NDArray[np.float64],
    output_demand: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Deal output channels so that all multipliers expect the same work, in the next layer too.

    Channels go, most work first, to the lane with a free row in which they even out the clusters'
    multipliers most. Within their lanes they are then spread over the rows, so that the clusters
    that read them share the next layer's work.

    Parameters
    ----------
    layer
        The layer.
    config
        The accelerator.
    input_clusters : int64, shape (ic,)
        The cluster that reads each input.
    input_activity : float64, shape (ic,)
        How often each input survives.
    output_demand : float64, shape (oc,)
        Work that each output makes for the cluster that will read it.

    Returns
    -------
    int32, shape (oc,)
        Physical position ``row * lanes + lane``.
    """
    dealt = _deal_to_lanes(layer, config, input_clusters, input_activity)
    rows = -(-layer.weight.shape[0] // config.lanes)
    row_clusters, _, _ = config.row_places(np.arange(rows))
    free = [
        [list(np.flatnonzero(row_clusters == cluster)) for cluster in range(config.clusters)]
        for _ in range(config.lanes)
    ]
    lane_of = {channel: lane for lane, members in enumerate(dealt) for channel in members}
    demand = np.zeros(config.clusters)
    positions = np.zeros(layer.weight.shape[0], dtype=np.int32)
    for channel in np.argsort(-output_demand, kind="stable"):
        lane = lane_of[int(channel)]
        open_clusters = [cluster for cluster in range(config.clusters) if free[lane][cluster]]
        cluster = min(open_clusters, key=lambda cluster: demand[cluster])
        demand[cluster] += output_demand[channel]
        positions[channel] = free[lane][cluster].pop(0) * config.lanes + lane
    return positions


def _deal_to_lanes(
    layer: Layer,
    config: AcceleratorConfig,
    input_clusters: NDArray[np.int64],
    input_activity: NDArray[np.float64],
) -> list[list[int]]:
    """Return each lane's channels; a channel goes where the sum of squared loads grows least."""
    channels = layer.weight.shape[0]
    work = np.zeros((channels, config.clusters))
    for cluster in range(config.clusters):
        mine = input_clusters == cluster
        work[:, cluster] = (layer.weight[:, mine] != 0) @ input_activity[mine]
    room = np.full(config.lanes, -(-channels // config.lanes))
    loads = np.zeros((config.lanes, config.clusters))
    dealt: list[list[int]] = [[] for _ in range(config.lanes)]
    for channel in np.argsort(-work.sum(axis=1), kind="stable"):
        growth = np.where(room > 0, loads @ work[channel], np.inf)
        lane = int(np.argmin(growth))
        dealt[lane].append(int(channel))
        loads[lane] += work[channel]
        room[lane] -= 1
    return dealt
