"""Lists that do not fit the lanes' memories: cut into blocks that are streamed to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SLOTS
from jpnet_spec.network import Layer
from jpnet_sw.compiler.capacity import LayerLists, layer_lists
from jpnet_sw.compiler.cuts import balanced_cut
from jpnet_sw.compiler.errors import CompileError
from jpnet_sw.compiler.list_places import ListPlace
from jpnet_sw.compiler.steps import Step
from jpnet_sw.compiler.tensors import Tensor
from jpnet_sw.compiler.tiles import Part, fitting_rows

__all__ = ["streamed_lists"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _RowSizes:
    """What the lists of each of a layer's channel rows need.

    Parameters
    ----------
    divided
        Whether the inputs are divided among the groups.
    weights : int64, shape (lanes, rows)
        Of each lane whose lists are streamed.
    tables : int64, shape (lanes,)
        List table entries of each of these lanes, whatever the number of rows.
    most_rows
        Rows that the accumulators hold.
    """

    divided: bool
    weights: NDArray[np.int64]
    tables: NDArray[np.int64]
    most_rows: int

    def cut(self, config: AcceleratorConfig, *, pieces: int) -> tuple[Part, ...] | None:
        """Split the rows into as few parts as fit a slot each; None where one row does not."""
        if self.tables.max() > config.pointer_depth // SLOTS:
            return None
        rows = np.ones((1, self.weights.shape[1]), dtype=np.int64)
        limits = np.full(len(self.weights) + 1, config.weight_depth // SLOTS, dtype=np.int64)
        limits[-1] = self.most_rows
        ends = balanced_cut(
            np.concatenate([self.weights, rows]),
            limits,
            balanced=slice(0, len(self.weights)),
            pieces=pieces,
        )
        if ends is None:
            return None
        starts = [0, *ends[:-1]]
        return tuple(
            Part(first_row=first, rows=end - first) for first, end in zip(starts, ends, strict=True)
        )

    def needs(self, part: Part) -> tuple[int, int, int]:
        """Return a part's weights and table in the fullest lane, and its words in the stream."""
        weights = self.weights[:, part.first_row : part.first_row + part.rows].sum(axis=1)
        words = weights.sum() + self.tables.sum()
        return int(weights.max()), int(self.tables.max()), int(words)


def streamed_lists(
    steps: Sequence[Step],
    tensors: Mapping[str, Tensor],
    config: AcceleratorConfig,
    *,
    dense: bool,
) -> tuple[list[LayerLists], list[tuple[ListPlace, ...]]]:
    """Cut all lists into blocks, each of which fits a slot.

    A layer has as few parts as possible, because each reads all of its input, and the blocks are
    as equal as possible, because the next one arrives while one is used.

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
    tuple
        Lists of all layers, and the place of each of their parts.

    Raises
    ------
    CompileError
        If a slot does not hold the lists of a single channel row.
    """
    sizes = [_choose_sizes(step, tensors, config, dense=dense) for step in steps]
    pieces = [1] * len(sizes)
    while True:
        cuts = [
            item.cut(config, pieces=least) or () for item, least in zip(sizes, pieces, strict=True)
        ]
        ends = _cut_blocks(sizes, cuts, config)
        if len(ends) % SLOTS == 0:
            break
        _add_piece(sizes, cuts, pieces)
    lists = [
        layer_lists(step.walked, tensors, parts, divided=item.divided, dense=dense)
        for step, parts, item in zip(steps, cuts, sizes, strict=True)
    ]
    return lists, _place(lists, ends, config)


def _choose_sizes(
    step: Step, tensors: Mapping[str, Tensor], config: AcceleratorConfig, *, dense: bool
) -> _RowSizes:
    """Let every group hold all weights unless fewer parts do when the inputs are divided."""
    whole = _row_sizes(step, tensors, config, divided=False, dense=dense)
    parts = whole.cut(config, pieces=1)
    if parts is not None and (config.groups == 1 or len(parts) == 1):
        return whole
    divided = _row_sizes(step, tensors, config, divided=config.groups > 1, dense=dense)
    fewer = divided.cut(config, pieces=1)
    if fewer is None:
        raise CompileError(_refusal(step.layer, divided, config))
    return whole if parts is not None and len(parts) <= len(fewer) else divided


def _row_sizes(
    step: Step,
    tensors: Mapping[str, Tensor],
    config: AcceleratorConfig,
    *,
    divided: bool,
    dense: bool,
) -> _RowSizes:
    most_rows = fitting_rows(step.layer, step.drained, config)
    rows = -(-len(step.layer.weight) // config.lanes)
    single = [Part(first_row=row, rows=1) for row in range(rows)]
    parts = layer_lists(step.walked, tensors, single, divided=divided, dense=dense).parts
    streamed = [place for place in parts[0].lanes if place[0] == 0 or not parts[0].alike]
    return _RowSizes(
        divided=divided,
        weights=np.array([[len(part.lanes[k].entries) for part in parts] for k in streamed]),
        tables=np.array([len(parts[0].lanes[place].starts) for place in streamed]),
        most_rows=most_rows,
    )


def _refusal(layer: Layer, sizes: _RowSizes, config: AcceleratorConfig) -> str:
    """Return which memory is too small even for a channel row."""
    memory, need, have = "list table", int(sizes.tables.max()), config.pointer_depth // SLOTS
    if need <= have:
        memory, need, have = "weight memory", int(sizes.weights.max()), config.weight_depth // SLOTS
    return (
        f"layer {layer.name!r}: {memory} needs {need} entries a lane for the lists of one channel "
        f"row, a slot for streamed lists has {have}"
    )


def _cut_blocks(
    sizes: Sequence[_RowSizes], cuts: Sequence[Sequence[Part]], config: AcceleratorConfig
) -> list[int]:
    """Return the end of each block, counted in parts of all layers."""
    needs = [item.needs(part) for item, parts in zip(sizes, cuts, strict=True) for part in parts]
    limits = [config.weight_depth // SLOTS, config.pointer_depth // SLOTS, 2**62]
    ends = balanced_cut(
        np.array(needs, dtype=np.int64).T,
        np.array(limits, dtype=np.int64),
        balanced=slice(2, 3),
        multiple=SLOTS,
    )
    assert ends is not None
    return ends


def _add_piece(
    sizes: Sequence[_RowSizes], cuts: Sequence[Sequence[Part]], pieces: list[int]
) -> None:
    """Ask for one part more of the layer with the largest part that has rows to give."""
    divisible = {
        max(item.needs(part)[2] for part in parts): index
        for index, (item, parts) in enumerate(zip(sizes, cuts, strict=True))
        if any(part.rows > 1 for part in parts)
    }
    if not divisible:
        raise CompileError(
            f"streamed lists must be cut into a multiple of {SLOTS} blocks, but every layer has "
            "one channel row only"
        )
    index = divisible[max(divisible)]
    pieces[index] = len(cuts[index]) + 1


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
