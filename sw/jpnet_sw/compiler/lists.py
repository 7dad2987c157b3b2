"""Weight lists: what each input activation meets in each lane."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.network import Layer

__all__ = ["LaneLists", "lane_lists", "local_inputs"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LaneLists:
    """One layer's lists in one lane of one group.

    Parameters
    ----------
    entries : uint32, shape (entries,)
        ``row << 8 | weight``; every list starts at an even place.
    starts, lengths : int64, shape (inputs,)
        Per local input; starts are relative to the layer's first entry.
    """

    entries: NDArray[np.uint32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


def local_inputs(
    positions: NDArray[np.int32],
    rows: int,
    config: AcceleratorConfig,
    *,
    cluster: int,
    group: int | None,
) -> NDArray[np.int64]:
    """Return the input channel behind each list table entry of a group, -1 for padding.

    Parameters
    ----------
    positions : int32, shape (ic,)
        Physical position of each input channel.
    rows
        Rows of the input tensor.
    config
        The accelerator.
    cluster
        Whose share of the rows.
    group
        The owner when the inputs are divided among the groups; None when every group holds all.
    """
    channel_at = np.full(rows * config.lanes, -1, dtype=np.int64)
    channel_at[positions] = np.arange(len(positions))
    share = channel_at.reshape(rows, config.lanes)[cluster :: config.clusters].ravel()
    return share if group is None else share[group :: config.groups]


def lane_lists(
    layer: Layer,
    inputs: NDArray[np.int64],
    positions: NDArray[np.int32],
    config: AcceleratorConfig,
    *,
    lane: int,
    dense: bool,
) -> LaneLists:
    """Encode one lane's lists.

    Parameters
    ----------
    layer
        The layer.
    inputs : int64
        From `local_inputs`.
    positions : int32, shape (oc,)
        Physical position of each output channel.
    config
        The accelerator.
    lane
        The lane.
    dense
        Whether zero weights are stored too.
    """
    owned = np.flatnonzero(positions % config.lanes == lane)
    owned = owned[np.argsort(positions[owned])]
    rows = (positions[owned] // config.lanes).astype(np.uint32)
    weight = np.zeros((len(owned), len(inputs)), dtype=np.int8)
    real = inputs >= 0
    weight[:, real] = layer.weight[np.ix_(owned, inputs[real])]
    stored = np.broadcast_to(real, weight.shape) if dense else weight != 0
    lengths = stored.sum(axis=0)
    even = lengths + lengths % 2
    starts = np.concatenate([[0], np.cumsum(even)[:-1]]) if len(even) else even
    entries = np.zeros(int(even.sum()), dtype=np.uint32)
    column, place = np.nonzero(stored.T)
    rank = np.arange(len(column)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    codes = weight[place, column].view(np.uint8).astype(np.uint32)
    entries[starts[column] + rank] = rows[place] << 8 | codes
    return LaneLists(entries=entries, starts=starts, lengths=lengths)
