"""The instructions of one layer."""

from dataclasses import dataclass

import numpy as np

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.convolution import Convolution
from jpnet_spec.instruction import Instruction, LayerFlag, Opcode
from jpnet_spec.network import Layer
from jpnet_spec.tensor_layout import MapLayout
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler.capacity import LayerLists
from jpnet_sw.compiler.errors import CompileError
from jpnet_sw.compiler.list_places import ListPlace
from jpnet_sw.compiler.lists import TapTable
from jpnet_sw.compiler.tensors import Tensor
from jpnet_sw.compiler.tiles import Part, Tile, block_rows, row_tiles

__all__ = ["LayerBases", "LayerPlace", "layer_instructions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerBases:
    """First address of each of a layer's shares of the memories.

    Parameters
    ----------
    source, target
        Words of the activation memory.
    lists
        Weights and list tables, of each part.
    params
        Rows of the channel parameters.
    """

    source: int
    target: int
    lists: tuple[ListPlace, ...]
    params: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerPlace:
    """A layer with its place in every memory.

    Parameters
    ----------
    layer
        The layer.
    source, target
        Tensors.
    slots
        Of the source's and the target's threshold.
    lists
        Its lists.
    bases
        Where its shares begin.
    """

    layer: Layer
    source: Tensor
    target: Tensor
    slots: tuple[int, int]
    lists: LayerLists
    bases: LayerBases


def layer_instructions(
    place: LayerPlace,
    config: AcceleratorConfig,
    *,
    dense: bool,
    frees_image: bool,
    is_result: bool,
) -> list[Instruction]:
    """Return one instruction for each tile, or the only one.

    Parameters
    ----------
    place
        The layer.
    config
        The accelerator.
    dense
        Whether zeros are issued too.
    frees_image
        Whether this is the last layer that reads the image.
    is_result
        Whether this is the last layer.

    Raises
    ------
    CompileError
        If a value does not fit its field.
    """
    convolution = place.layer.convolution
    opcode = Opcode.FULLY_CONNECTED if convolution is None else Opcode.CONVOLUTION
    numbers, fields = [], []
    for number, part in enumerate(place.lists.parts):
        own = (
            [_vector_fields(place, number)]
            if convolution is None
            else [
                _tile_fields(place, convolution, number, tile)
                for tile in row_tiles(place.layer, convolution, part.part, config)
            ]
        )
        numbers += [number] * len(own)
        fields += own
    common = _common_fields(place)
    always = LayerFlag.DENSE if dense else LayerFlag(0)
    always |= LayerFlag.DIVIDED if place.lists.divided else LayerFlag(0)
    always |= LayerFlag.MAP if isinstance(place.source.layout, MapLayout) else LayerFlag(0)
    instructions = []
    for index, (number, fields_of_tile) in enumerate(zip(numbers, fields, strict=True)):
        flags = always
        if place.bases.lists[number].ends_block and numbers[index + 1 : index + 2] != [number]:
            flags |= LayerFlag.NEXT_BLOCK
        flags |= LayerFlag.FIRST_TILE if index == 0 else LayerFlag(0)
        if index == len(fields) - 1:
            flags |= LayerFlag.LAST_TILE
            flags |= LayerFlag.FREE_IMAGE if frees_image else LayerFlag(0)
            flags |= LayerFlag.RESULT if is_result else LayerFlag(0)
        try:
            fields_here = common | fields_of_tile
            instructions.append(Instruction(opcode=opcode, flags=flags, **fields_here))
        except ValueError as error:
            raise CompileError(f"layer {place.layer.name!r}: {error}") from error
    return instructions


def _common_fields(place: LayerPlace) -> dict[str, int]:
    """Return what all instructions of a layer share: thresholds and the source."""
    top_n, sums_shape = place.layer.top_n, place.layer.sums_shape
    counted = top_n.mode in (ThresholdMode.EXACT, ThresholdMode.SAMPLED)
    positions = sums_shape[1] * sums_shape[2] if len(sums_shape) > 1 else 1
    fields = {
        "source_slot": place.slots[0],
        "target_slot": place.slots[1],
        "threshold_mode": top_n.mode,
        "source_base": place.bases.source,
        "winners": top_n.counted_winners(sums_shape[0], positions) if counted else 0,
        "shift": place.layer.shift,
        "static_threshold": top_n.static_threshold,
        "sample_stride": top_n.sample_stride,
    }
    layout = place.source.layout
    if not isinstance(layout, MapLayout):
        return fields | {"source_rows": layout.rows}
    return fields | {
        "source_rows": 0,
        "source_packing": layout.packing,
        "source_height": layout.height,
        "source_width": layout.width,
        "source_tail": layout.tail,
        "source_pixel_words": layout.pixel_words,
        "source_row_words": layout.row_words,
        "source_words": layout.bank_words,
    }


def _vector_fields(place: LayerPlace, number: int) -> dict[str, int]:
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
    place: LayerPlace, convolution: Convolution, number: int, tile: Tile
) -> dict[str, int]:
    """Return what one tile of a convolution adds.

    Parameters
    ----------
    place
        The layer.
    convolution
        Its geometry.
    number
        Of the tile's part.
    tile
        The tile's blocks.
    """
    part = place.lists.parts[number].part
    table = TapTable.of(convolution, place.source.layout, divided=place.lists.divided)
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
        "rows": part.rows,
        "pointer_base": place.bases.lists[number].pointers,
        "param_base": place.bases.params + part.first_row,
        "padding_top": convolution.window.padding[0],
        "padding_left": convolution.window.padding[2],
        "output_height": height,
        "output_width": width,
        "kernel_height": convolution.window.size[0],
        "run_lists": table.columns,
        "channel_lists": table.channel_lists,
        "phase_lists": table.phase_lists,
        "first_block": tile.first_block,
        "blocks": tile.blocks,
        "line_rows": width * part.rows,
        **_target_fields(place, part, tile),
        **_sample_fields(place, tile, width),
    }


def _target_fields(place: LayerPlace, part: Part, tile: Tile) -> dict[str, int]:
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


def _sample_fields(place: LayerPlace, tile: Tile, width: int) -> dict[str, int]:
    """Return the residues of a tile's output positions, where the threshold is sampled."""
    stride = place.layer.top_n.sample_stride
    if place.layer.top_n.mode is not ThresholdMode.SAMPLED:
        return {}
    block = block_rows(place.layer) * width
    local_block = block * place.source.layout.config.clusters
    return {
        "sample_start": tile.first_block * local_block % stride,
        "sample_cluster": block % stride,
        "sample_block": local_block % stride,
        "sample_line": width % stride,
    }
