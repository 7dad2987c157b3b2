"""The instructions of one step."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.instruction import Instruction, LayerFlag, Opcode
from jpnet_spec.network import Layer
from jpnet_spec.tensor_layout import MapLayout
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler.capacity import LayerLists
from jpnet_sw.compiler.errors import CompileError
from jpnet_sw.compiler.list_places import ListPlace
from jpnet_sw.compiler.lists import TapTable
from jpnet_sw.compiler.shortcuts import is_carried, shortcut_layer
from jpnet_sw.compiler.source_fields import source_fields
from jpnet_sw.compiler.spans import ReadWords, Span
from jpnet_sw.compiler.steps import Step
from jpnet_sw.compiler.tensors import Tensor
from jpnet_sw.compiler.tiles import Part, Tile, block_rows, part_tiles

__all__ = ["StepBases", "StepPlace", "step_instructions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepBases:
    """First address of each of a step's shares of the memories.

    Parameters
    ----------
    source, target, shortcut, second
        Words of the activation memory; the latter two 0 where there is no such tensor.
    lists
        Weights and list tables, of each part.
    params, second_params
        Rows of the channel parameters.
    """

    source: int
    target: int
    lists: tuple[ListPlace, ...]
    params: int
    shortcut: int = 0
    second: int = 0
    second_params: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepPlace:
    """A step with its place in every memory.

    Parameters
    ----------
    step
        The step.
    source, target
        Tensors.
    shortcut
        Tensor that is added, or None.
    slots
        Of the source's and the target's threshold.
    lists
        Its lists.
    bases
        Where its shares begin.
    """

    step: Step
    source: Tensor
    target: Tensor
    shortcut: Tensor | None
    slots: tuple[int, int]
    lists: LayerLists
    bases: StepBases

    @property
    def layer(self) -> Layer:
        """The layer that multiplies."""
        return self.step.layer

    @property
    def read_words(self) -> ReadWords:
        """The layer whose lists the lanes have, and what it reads."""
        return ReadWords(layer=self.step.walked, layout=self.source.layout)


def step_instructions(
    place: StepPlace,
    config: AcceleratorConfig,
    *,
    dense: bool,
    frees_image: bool,
    is_result: bool,
) -> list[tuple[int, Instruction]]:
    """Return the instructions, each with the number of the part whose lists it uses.

    There is one for each tile and each span of what is read; all but the last span's keep their
    sums. Before the first one of a tile that adds a shortcut's sums comes one that sums them.

    Parameters
    ----------
    place
        The step.
    config
        The accelerator.
    dense
        Whether zeros are issued too.
    frees_image
        Whether the next image may come once this step has read its source.
    is_result
        Whether this is the last step.

    Raises
    ------
    CompileError
        If a value does not fit its field.
    """
    convolution = place.step.drained
    tiles: list[tuple[int, Tile | None]] = []
    for number, part in enumerate(place.lists.parts):
        own: tuple[Tile | None, ...] = (None,)
        if convolution is not None:
            own = part_tiles(place.layer, convolution, part.part, config)
        tiles += [(number, tile) for tile in own]
    instructions = []
    drained = False
    for index, (number, tile) in enumerate(tiles):
        drains = place.read_words.is_last(place.lists.parts[number].part.span)
        flags = LayerFlag.DENSE if dense else LayerFlag(0)
        if place.bases.lists[number].ends_block and [n for n, _ in tiles[index + 1 :]][:1] != [
            number
        ]:
            flags |= LayerFlag.NEXT_BLOCK
        if not drains:
            flags |= LayerFlag.KEEP_SUMS
        elif not drained:
            flags |= LayerFlag.FIRST_TILE
        drained |= drains
        if index == len(tiles) - 1:
            flags |= LayerFlag.LAST_TILE
            flags |= LayerFlag.FREE_IMAGE if frees_image else LayerFlag(0)
            flags |= LayerFlag.RESULT if is_result else LayerFlag(0)
        try:
            instructions += [
                (number, item) for item in _tile_instructions(place, number, tile, flags)
            ]
        except ValueError as error:
            raise CompileError(f"layer {place.layer.name!r}: {error}") from error
    return instructions


def _tile_instructions(
    place: StepPlace, number: int, tile: Tile | None, flags: LayerFlag
) -> list[Instruction]:
    """Return the instruction of a tile, or None for a part of a vector, and the one before it."""
    span, kept = place.lists.parts[number].part.span, bool(flags & LayerFlag.KEEP_SUMS)
    common = _kept_fields(place.slots[0]) if kept else _threshold_fields(place)
    common |= source_fields(place.read_words, place.bases.source, span)
    flags |= _reading_flags(place.source, place.lists)
    if tile is None:
        opcode, fields = Opcode.FULLY_CONNECTED, common | _vector_fields(place, number)
        if place.step.gathers:
            opcode, flags = Opcode.CONVOLUTION, flags | LayerFlag.GATHER
            walked = _walk_fields(place, place.read_words, number, span)
            fields = common | walked | _vector_fields(place, number)
        return [Instruction(opcode=opcode, flags=flags, **fields)]
    assert place.layer.convolution is not None
    fields = common | _tile_fields(place, place.read_words, number, tile, span)
    added, more = _drain_fields(place, fields, tile)
    if not kept:
        flags |= added
        fields |= more
    before: list[Instruction] = []
    if LayerFlag.SUMMED in added and (span is None or span.first_word == 0):
        before.append(_shortcut_instruction(place, number, tile, more["summed_row"]))
    return [*before, Instruction(opcode=Opcode.CONVOLUTION, flags=flags, **fields)]


def _drain_fields(
    place: StepPlace, fields: Mapping[str, int], tile: Tile
) -> tuple[LayerFlag, dict[str, int]]:
    """Return what a tile's drain adds and writes besides its sums.

    Parameters
    ----------
    place
        The step.
    fields
        Of the tile's instruction, so far.
    tile
        The tile.
    """
    assert place.layer.convolution is not None
    flags, more = LayerFlag(0), _sample_fields(place, tile, place.layer.convolution.output_size[1])
    distance = fields["target_base"] - place.bases.target
    if place.step.second is not None:
        flags |= LayerFlag.SECOND
        more["second_base"] = place.bases.second + distance
        more["second_params"] = place.bases.second_params + fields["param_base"]
        more["second_params"] -= place.bases.params
        more["second_shift"] = place.step.second.shift
    if place.layer.shortcut is not None:
        more["carried_multiplier"] = place.layer.shortcut.multiplier
        if is_carried(place.layer):
            flags |= LayerFlag.CARRIED
            more["carried_base"] = place.bases.shortcut + distance
        else:
            flags |= LayerFlag.SUMMED
            more["summed_row"] = fields["blocks"] * fields["line_rows"]
    return flags, more


def _shortcut_instruction(place: StepPlace, number: int, tile: Tile, first_sum: int) -> Instruction:
    """Return the instruction that sums what is added; all of the tensor counts."""
    summed = shortcut_layer(place.layer)
    assert summed is not None
    assert place.shortcut is not None
    read = ReadWords(layer=summed, layout=place.shortcut.layout)
    table = TapTable.of(
        place.layer,
        place.source.layout,
        divided=place.lists.divided,
        span=place.lists.parts[number].part.span,
    )
    fields = _kept_fields(0) | source_fields(read, place.bases.shortcut)
    fields |= _tile_fields(place, read, number, tile, None)
    fields |= {"first_sum": first_sum, "pointer_base": fields["pointer_base"] + table.lists + 1}
    return Instruction(
        opcode=Opcode.CONVOLUTION,
        flags=LayerFlag.KEEP_SUMS | _reading_flags(place.shortcut, place.lists),
        **fields,
    )


def _reading_flags(source: Tensor, lists: LayerLists) -> LayerFlag:
    """Return what tells how a source is read."""
    flags = LayerFlag.DIVIDED if lists.divided else LayerFlag(0)
    if isinstance(source.layout, MapLayout):
        flags |= LayerFlag.MAP
    return flags


def _threshold_fields(place: StepPlace) -> dict[str, int]:
    """Return what all draining instructions of a step share: thresholds and the shift."""
    top_n, sums_shape = place.step.counted.top_n, place.layer.sums_shape
    counted = top_n.mode in (ThresholdMode.EXACT, ThresholdMode.SAMPLED)
    positions = sums_shape[1] * sums_shape[2] if len(sums_shape) > 1 else 1
    return {
        "source_slot": place.slots[0],
        "target_slot": place.slots[1],
        "threshold_mode": top_n.mode,
        "winners": top_n.counted_winners(sums_shape[0], positions) if counted else 0,
        "shift": place.layer.shift,
        "static_threshold": top_n.static_threshold,
        "sample_stride": top_n.sample_stride,
    }


def _kept_fields(source_slot: int) -> dict[str, int]:
    """Return the fields of thresholds and shift of an instruction that drains nothing."""
    return {
        "source_slot": source_slot,
        "target_slot": 0,
        "threshold_mode": ThresholdMode.NONE,
        "winners": 0,
        "shift": 0,
        "static_threshold": 0,
        "sample_stride": 1,
    }


def _vector_fields(place: StepPlace, number: int) -> dict[str, int]:
    """Return what one part of a fully connected layer adds."""
    part, layout = place.lists.parts[number].part, place.target.layout
    bank, word, column = layout.config.row_places(np.array([part.first_row]))
    return {
        "target_base": place.bases.target + int(word[0]),
        "first_block": int(bank[0]),
        "first_column": int(column[0]),
        "rows": part.rows,
        "pointer_base": place.bases.lists[number].pointers,
        "param_base": place.bases.params + part.first_row,
    }


def _tile_fields(
    place: StepPlace, read: ReadWords, number: int, tile: Tile, span: Span | None
) -> dict[str, int]:
    """Return what one tile of a convolution adds.

    Parameters
    ----------
    place
        The step.
    read
        Its layer, or the one of its shortcut, and what that reads.
    number
        Of the tile's part.
    tile
        The tile's blocks.
    span
        The words that are read; None for all.
    """
    part = place.lists.parts[number].part
    fields = _walk_fields(place, read, number, span)
    return fields | {
        "rows": part.rows,
        "param_base": place.bases.params + part.first_row,
        "first_block": tile.first_block,
        "blocks": tile.blocks,
        "line_rows": fields["output_width"] * part.rows,
        **_target_fields(place, part, tile),
    }


def _walk_fields(
    place: StepPlace, read: ReadWords, number: int, span: Span | None
) -> dict[str, int]:
    """Return how the lanes walk through the map of a convolution, and through its lists.

    Parameters
    ----------
    place
        The step.
    read
        What they sum, and what that reads.
    number
        Of the tile's part.
    span
        The words that are read; None for all.
    """
    convolution = read.layer.convolution
    assert convolution is not None
    table = TapTable.of(read.layer, read.layout, divided=place.lists.divided, span=span)
    pool, stride = place.layer.pool, convolution.window.stride
    height, width = convolution.output_size
    padded_width = (width + table.columns - 1) * stride
    return {
        "source_width": min(
            convolution.input_shape[2], padded_width - convolution.window.padding[2]
        ),
        "stride_log2": stride.bit_length() - 1,
        "pool_window": 1 if pool is None else pool.size[0],
        "pool_stride": block_rows(place.layer),
        "pointer_base": place.bases.lists[number].pointers,
        "padding_top": convolution.window.padding[0],
        "padding_left": convolution.window.padding[2],
        "output_height": height,
        "output_width": width,
        "kernel_height": convolution.window.size[0],
        "run_lists": table.columns,
        "channel_lists": table.channel_lists,
        "phase_lists": table.phase_lists,
        "blocks": -(-height // place.source.layout.config.clusters),
    }


def _target_fields(place: StepPlace, part: Part, tile: Tile) -> dict[str, int]:
    """Return where a tile's outputs are stored."""
    layout = place.target.layout
    assert isinstance(layout, MapLayout)
    word, column = divmod(part.first_row, layout.config.act_columns)
    stored_blocks = -(-layout.height // layout.config.clusters) - tile.first_block
    stored_words = max(0, min(stored_blocks, tile.blocks)) * layout.row_words
    return {
        "target_base": place.bases.target + tile.first_block * layout.row_words + word,
        "first_column": column,
        "stored_height": layout.height,
        "stored_width": layout.width,
        "target_words": max(0, stored_words - word),
        "target_pixel_words": layout.pixel_words,
        "target_row_words": layout.row_words,
    }


def _sample_fields(place: StepPlace, tile: Tile, width: int) -> dict[str, int]:
    """Return the residues of a tile's output positions, where the threshold is sampled."""
    stride = place.step.counted.top_n.sample_stride
    if place.step.counted.top_n.mode is not ThresholdMode.SAMPLED:
        return {}
    block = block_rows(place.layer) * width
    local_block = block * place.source.layout.config.clusters
    return {
        "sample_start": tile.first_block * local_block % stride,
        "sample_cluster": block % stride,
        "sample_block": local_block % stride,
        "sample_line": width % stride,
    }
