"""Lists of layers, divided among the groups where they do not fit otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.network import Layer
from jpnet_spec.packed_lists import PackedFields
from jpnet_sw.compiler.lists import LaneLists, convolution_lists, lane_lists, local_inputs
from jpnet_sw.compiler.shortcuts import shortcut_layer
from jpnet_sw.compiler.spans import ReadWords
from jpnet_sw.compiler.steps import Step
from jpnet_sw.compiler.tensors import Tensor
from jpnet_sw.compiler.tiles import Part, channel_parts

__all__ = ["LayerLists", "PartLists", "layer_lists", "resident_lists"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PartLists:
    """Lists of some channel rows of a layer, and of some of what it reads, in all lanes.

    Parameters
    ----------
    part
        The channel rows, and what is read.
    lanes
        Lists by cluster, group and lane; the group is None where all groups hold the same.
    alike
        Whether all clusters hold the same.
    packed
        How they are packed, by cluster and group, of the first cluster where all are alike; None
        where they are not.
    """

    part: Part
    alike: bool
    lanes: Mapping[tuple[int, int | None, int], LaneLists]
    packed: Mapping[tuple[int, int | None], PackedFields] | None = None

    @property
    def entries(self) -> int:
        """Weights of the fullest lane."""
        return max(len(item.entries) for item in self.lanes.values())

    @property
    def table(self) -> int:
        """List table entries of the lane with most of them."""
        return max(len(item.starts) for item in self.lanes.values())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerLists:
    """Lists of one layer.

    Parameters
    ----------
    divided
        Whether the inputs are divided among the groups.
    parts
        In the order of their channel rows, of their tiles and of what they read.
    """

    divided: bool
    parts: tuple[PartLists, ...]

    @property
    def entries(self) -> int:
        """Weights of the fullest lanes."""
        return sum(part.entries for part in self.parts)

    @property
    def table(self) -> int:
        """List table entries of the lanes with most of them."""
        return sum(part.table for part in self.parts)


def resident_lists(
    steps: Sequence[Step],
    tensors: Mapping[str, Tensor],
    config: AcceleratorConfig,
    *,
    dense: bool,
) -> list[LayerLists] | None:
    """Let every group hold all weights; divide the largest layers until the lists fit.

    Parameters
    ----------
    steps
        From `network_steps`.
    tensors
        From `place_tensors`.
    config
        The accelerator.
    dense
        Whether zero weights are stored too.

    Returns
    -------
    list or None
        Lists of all layers; None where the lanes' memories do not hold them even so.

    Raises
    ------
    CompileError
        If the accumulators do not hold one channel row.
    """

    def build(step: Step, *, divided: bool) -> LayerLists:
        return layer_lists(
            step.walked,
            tensors,
            channel_parts(step.layer, step.drained, config),
            divided=divided,
            dense=dense,
        )

    lists = [build(step, divided=False) for step in steps]
    while True:
        # The end of the last list is an address, too.
        entries = sum(item.entries for item in lists) + 1
        table = sum(item.table for item in lists)
        if entries <= config.weight_depth and table <= config.pointer_depth:
            return lists
        whole = [index for index, item in enumerate(lists) if not item.divided]
        if config.groups == 1 or not whole:
            return None
        index = max(whole, key=lambda index: lists[index].entries)
        lists[index] = build(steps[index], divided=True)


def layer_lists(
    layer: Layer,
    tensors: Mapping[str, Tensor],
    parts: Sequence[Part],
    *,
    divided: bool,
    dense: bool,
) -> LayerLists:
    """Encode a layer's lists, part by part.

    Those of a shortcut that is summed follow the lists of the part that reads the first words.

    Parameters
    ----------
    layer
        The layer.
    tensors
        From `place_tensors`.
    parts
        All of its channel rows; those that differ in nothing but the tile have the same lists.
    divided
        Whether the inputs are divided among the groups.
    dense
        Whether zero weights are stored too.
    """
    source, target = tensors[layer.inputs[0]], tensors[layer.name]
    config = source.layout.config
    groups: list[int | None] = list(range(config.groups)) if divided else [None]
    summed = shortcut_layer(layer)
    shortcut = None if summed is None else (summed, tensors[summed.inputs[0]])
    encoded: dict[Part, PartLists] = {}
    for part in parts:
        alike = replace(part, tile=None)
        if alike in encoded:
            continue
        if layer.convolution is None:
            encoded[alike] = _fully_connected(layer, source, target, alike, groups, dense=dense)
        else:
            encoded[alike] = _convolution(
                layer, source, target, alike, groups, shortcut=shortcut, dense=dense
            )
    return LayerLists(
        divided=divided,
        parts=tuple(replace(encoded[replace(part, tile=None)], part=part) for part in parts),
    )


def _fully_connected(
    layer: Layer,
    source: Tensor,
    target: Tensor,
    part: Part,
    groups: list[int | None],
    *,
    dense: bool,
) -> PartLists:
    config = source.layout.config
    slots = ReadWords(layer=layer, layout=source.layout).positions(part.span)
    lanes = {}
    for cluster in range(config.clusters):
        for group in groups:
            inputs = local_inputs(source, slots, cluster=cluster, group=group)
            for lane in range(config.lanes):
                lanes[cluster, group, lane] = lane_lists(
                    layer, inputs, target.positions, part, config, lane=lane, dense=dense
                )
    return PartLists(part=part, lanes=lanes, alike=False)


def _convolution(
    layer: Layer,
    source: Tensor,
    target: Tensor,
    part: Part,
    groups: list[int | None],
    *,
    shortcut: tuple[Layer, Tensor] | None,
    dense: bool,
) -> PartLists:
    config = source.layout.config
    assert layer.convolution is not None
    lanes: dict[tuple[int, int | None, int], LaneLists] = {}
    for group in groups:
        for lane in range(config.lanes):
            lists = convolution_lists(
                layer,
                layer.convolution,
                source,
                target.positions,
                part,
                lane=lane,
                group=group,
                dense=dense,
            )
            if shortcut is not None and (part.span is None or part.span.first_word == 0):
                assert shortcut[0].convolution is not None
                lists = lists.followed_by(
                    convolution_lists(
                        shortcut[0],
                        shortcut[0].convolution,
                        shortcut[1],
                        target.positions,
                        replace(part, span=None),
                        lane=lane,
                        group=group,
                        dense=False,
                    )
                )
            lanes |= {(cluster, group, lane): lists for cluster in range(config.clusters)}
    return PartLists(part=part, lanes=lanes, alike=True)
