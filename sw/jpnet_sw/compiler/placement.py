"""Which lane and row each output channel gets."""

import heapq

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.network import Layer

__all__ = ["padded_rows", "place_balanced", "place_in_order"]


def padded_rows(channels: int, config: AcceleratorConfig) -> int:
    """Return the rows drained: enough for the channels, in whole activation words."""
    rows = -(-channels // config.lanes)
    return -(-rows // config.act_columns) * config.act_columns


def place_in_order(channels: int) -> NDArray[np.int32]:
    """Keep the channels' order, as the result's readers expect it."""
    return np.arange(channels, dtype=np.int32)


def place_balanced(
    layer: Layer,
    config: AcceleratorConfig,
    input_activity: NDArray[np.float64],
    output_activity: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Deal output channels to lanes so that all lanes expect the same work.

    Channels go, most work first, to the lane with the least work that has a row left. Within a
    lane, the channels that survive most often are spread over as many activation words as there
    are, so that the clusters that read them share the next layer's work.

    Parameters
    ----------
    layer
        The layer.
    config
        The accelerator.
    input_activity : float64, shape (ic,)
        How often each input survives.
    output_activity : float64, shape (oc,)
        How often each output survives.

    Returns
    -------
    int32, shape (oc,)
        Physical position ``row * lanes + lane``.
    """
    channels = layer.weight.shape[0]
    work = (layer.weight != 0) @ input_activity
    rows = -(-channels // config.lanes)
    dealt: list[list[int]] = [[] for _ in range(config.lanes)]
    open_lanes = [(0.0, lane) for lane in range(config.lanes)]
    for channel in np.argsort(-work, kind="stable"):
        expected, lane = heapq.heappop(open_lanes)
        dealt[lane].append(int(channel))
        if len(dealt[lane]) < rows:
            heapq.heappush(open_lanes, (expected + float(work[channel]), lane))
    columns = config.act_columns
    positions = np.zeros(channels, dtype=np.int32)
    spread = sorted(range(rows), key=lambda row: (row % columns, row // columns))
    for lane, members in enumerate(dealt):
        ranked = sorted(members, key=lambda channel: -output_activity[channel])
        for row, channel in zip(spread, ranked, strict=False):
            positions[channel] = row * config.lanes + lane
    return positions
