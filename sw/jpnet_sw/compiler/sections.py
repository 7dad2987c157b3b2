"""A layer's share of the program image."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SHORT_ROWS, Memory, Section, section_lanes
from jpnet_spec.layer import Layer, LayerOp
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler.capacity import PartLists
from jpnet_sw.compiler.list_places import ListPlace
from jpnet_sw.compiler.tensors import Tensor

__all__ = ["list_sections", "param_sections"]

_TABLE_PIECE = 32
"""Most entries of a streamed list table that follow each other: groups take no token meanwhile."""
_BIAS_MASK = np.uint32(0x7FFF_FFFF)
_INVERTED = np.uint32(0x8000_0000)


def list_sections(lists: PartLists, place: ListPlace) -> Iterator[Section]:
    """Yield weights and list tables of all lanes; what all clusters hold only once.

    While a table is written the lanes live on the lists that wait in their queues, so streamed
    tables come in small pieces with weights between them.

    Parameters
    ----------
    lists
        Of a layer or a part of it.
    place
        Where they begin in every lane's memories.
    """
    holders = list(dict.fromkeys((cluster, group) for cluster, group, _ in lists.lanes))
    for cluster, group in holders:
        if lists.alike and cluster > 0:
            continue
        lanes = [item for where, item in lists.lanes.items() if where[:2] == (cluster, group)]
        table = _columns([(item.starts + place.weights).astype(np.uint32) for item in lanes])
        entries = _columns([item.entries for item in lanes])
        packed = None if lists.packed is None else lists.packed[cluster, group]
        wide = packed is None and max(item.farthest for item in lanes) > SHORT_ROWS
        pieces = -(-len(table) // _TABLE_PIECE) if place.block is not None else 1
        for number in range(pieces):
            for memory, first, values in (
                (Memory.POINTER, place.pointers, table),
                (Memory.WEIGHT, place.weights, entries),
            ):
                begin, end = (len(values) * step // pieces for step in (number, number + 1))
                is_wide = wide and memory is Memory.WEIGHT
                together = section_lanes(memory, wide=is_wide)
                for lane in range(0, len(lanes) if end > begin else 0, together):
                    yield Section(
                        memory=memory,
                        wide=is_wide,
                        lane=lane,
                        cluster=None if lists.alike else cluster,
                        group=group,
                        address=first + begin,
                        values=values[begin:end, lane : lane + together],
                        packed=(
                            None
                            if packed is None or memory is Memory.POINTER
                            else packed.piece(begin, end)
                        ),
                    )


def _columns(lanes: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    """Return the lanes' entries side by side, shape (longest, lanes); zeros follow shorter ones."""
    values = np.zeros((max(map(len, lanes)), len(lanes)), dtype=np.uint32)
    for column, item in zip(values.T, lanes, strict=True):
        column[: len(item)] = item
    return values


def param_sections(
    layer: Layer, target: Tensor, config: AcceleratorConfig, *, param_base: int
) -> Iterator[Section]:
    """Yield the channel parameters of all drain lanes; padding rows give 0.

    Parameters
    ----------
    layer
        The layer.
    target
        Its output.
    config
        The accelerator.
    param_base
        Row of the first channel row.
    """
    for lane in range(config.lanes):
        owned = np.flatnonzero(target.positions % config.lanes == lane)
        words = np.zeros((target.layout.channel_rows, 3), dtype=np.uint32)
        words[target.positions[owned] // config.lanes] = _channel_words(layer)[owned]
        yield Section(memory=Memory.PARAM, lane=lane, address=param_base, values=words)


def _channel_words(layer: Layer) -> NDArray[np.uint32]:
    """Return bias, multipliers and phase of each channel, uint32, shape (oc, 3)."""
    words = np.zeros((len(layer.bias), 3), dtype=np.uint32)
    words[:, 0] = layer.bias.view(np.uint32) & _BIAS_MASK
    if layer.op is LayerOp.AFFINE:
        words[:, 0] |= np.where(layer.weight.reshape(len(words)) < 0, _INVERTED, 0)
    words[:, 1] = layer.multiplier.astype(np.uint32) | (
        layer.negative_multiplier.astype(np.uint32) << 16
    )
    if layer.top_n.mode is ThresholdMode.SAMPLED:
        words[:, 2] = np.arange(len(words)) % layer.top_n.sample_stride
    return words
