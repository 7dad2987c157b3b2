"""Lists that do not fit the lanes' memories: cut into blocks that are streamed to them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SLOTS
from jpnet_sw.compiler.capacity import LayerLists, layer_lists
from jpnet_sw.compiler.cuts import balanced_cut
from jpnet_sw.compiler.errors import CompileError
from jpnet_sw.compiler.layer_cuts import LayerCuts, layer_cuts
from jpnet_sw.compiler.list_places import ListPlace
from jpnet_sw.compiler.steps import Step
from jpnet_sw.compiler.tensors import Tensor
from jpnet_sw.compiler.tiles import Part

__all__ = ["streamed_lists"]


def streamed_lists(
    steps: Sequence[Step],
    tensors: Mapping[str, Tensor],
    config: AcceleratorConfig,
    activity: Mapping[str, NDArray[np.float64]],
    *,
    dense: bool,
) -> tuple[list[LayerLists], list[tuple[ListPlace, ...]]]:
    """Cut all lists into blocks, each of which fits a slot.

    The blocks are as equal as possible, because the next one arrives while one is used.

    Parameters
    ----------
    steps
        From `network_steps`.
    tensors
        From `place_tensors`.
    config
        The accelerator.
    activity
        From `layer_activity`.
    dense
        Whether zero weights are stored too.

    Returns
    -------
    tuple
        Lists of all layers, and the place of each of their parts.

    Raises
    ------
    CompileError
        If a slot does not hold the lists of a single channel row and word.
    """
    fastest = [
        layer_cuts(step, tensors, config, activity[step.layer.inputs[0]], dense=dense)
        for step in steps
    ]
    layers, cuts = [item for item, _ in fastest], [parts for _, parts in fastest]
    while len(ends := _cut_blocks(layers, cuts, config)) % SLOTS:
        _add_part(layers, cuts)
    lists = [
        layer_lists(step.walked, tensors, parts, divided=item.divided, dense=dense)
        for step, parts, item in zip(steps, cuts, layers, strict=True)
    ]
    return lists, _place(lists, ends, config)


def _cut_blocks(
    layers: Sequence[LayerCuts], cuts: Sequence[Sequence[Part]], config: AcceleratorConfig
) -> list[int]:
    """Return the end of each block, counted in parts of all layers."""
    needs = [item.needs(part) for item, parts in zip(layers, cuts, strict=True) for part in parts]
    sizes = [[getattr(need, name) for need in needs] for name in ("weights", "table", "units")]
    limits = [config.weight_depth // SLOTS, config.pointer_depth // SLOTS, 2**62]
    ends = balanced_cut(
        np.array(sizes, dtype=np.int64),
        np.array(limits, dtype=np.int64),
        balanced=slice(2, 3),
        multiple=SLOTS,
    )
    assert ends is not None
    return ends


def _add_part(layers: Sequence[LayerCuts], cuts: list[tuple[Part, ...]]) -> None:
    """Cut the layer with the largest part once more, of those that can be."""
    largest = [
        max(item.needs(part).units for part in parts)
        for item, parts in zip(layers, cuts, strict=True)
    ]
    for index in sorted(range(len(cuts)), key=lambda index: -largest[index]):
        more = layers[index].cut(len(cuts[index]) + 1)
        if more is not None:
            cuts[index] = more
            return
    raise CompileError(
        f"streamed lists must be cut into a multiple of {SLOTS} blocks, but no layer's lists can "
        "be cut once more"
    )


def _place(
    lists: Sequence[LayerLists], ends: Sequence[int], config: AcceleratorConfig
) -> list[tuple[ListPlace, ...]]:
    """Place the parts of each block one after the other in the block's slot."""
    places, number, block = [], 0, 0
    weights = pointers = 0
    for layer in lists:
        of_layer = []
        for part in layer.parts:
            number += 1
            slot = block % SLOTS
            of_layer.append(
                ListPlace(
                    weights=slot * config.weight_depth // SLOTS + weights,
                    pointers=slot * config.pointer_depth // SLOTS + pointers,
                    block=block,
                    ends_block=number == ends[block],
                )
            )
            weights, pointers = weights + part.entries, pointers + part.table
            if number == ends[block]:
                block, weights, pointers = block + 1, 0, 0
        places.append(tuple(of_layer))
    return places
