"""Layers in tiles that the accumulators hold, and which convolutions can be compiled."""

from dataclasses import dataclass

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.convolution import Convolution
from jpnet_spec.network import Layer
from jpnet_sw.compiler.errors import CompileError
from jpnet_sw.compiler.shortcuts import shortcut_layer
from jpnet_sw.compiler.spans import Span

__all__ = [
    "Part",
    "Tile",
    "block_rows",
    "channel_parts",
    "check_supported",
    "fitting_rows",
    "part_tiles",
    "row_tiles",
]

_STRIDES = (1, 2, 4)
_LARGEST_ADDEND = 511
"""Of a shortcut's sums: what a requantiser adds has 10 bits."""
_POOLS = ((2, 1), (2, 2), (3, 1), (3, 2))
"""Extents and strides of pooling windows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """Consecutive blocks of output rows of every cluster.

    Parameters
    ----------
    first_block, blocks
        Local blocks, `block_rows` output rows each.
    """

    first_block: int
    blocks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Consecutive channel rows, `lanes` channels each, whose lists lie together.

    Parameters
    ----------
    first_row, rows
        Channel rows of the layer's output.
    span
        What is read, all of it for None; the parts of the other spans follow.
    tile
        The only tile that these lists are for; None where they are for all tiles.
    """

    first_row: int
    rows: int
    span: Span | None = None
    tile: Tile | None = None


def check_supported(layer: Layer) -> None:
    """Refuse what the accelerator's convolutions cannot do.

    Raises
    ------
    CompileError
        Naming the layer and what is supported.
    """
    if layer.convolution is None:
        return
    stride = layer.convolution.window.stride
    if stride not in _STRIDES:
        raise CompileError(
            f"layer {layer.name!r}: a stride of {stride} is not supported, "
            f"those of {', '.join(map(str, _STRIDES))} are"
        )
    shortcut = shortcut_layer(layer)
    if shortcut is not None:
        _check_shortcut(layer, shortcut)
    pool = layer.pool
    if pool is None or (pool.size, pool.stride) == ((1, 1), 1):
        return
    rows, columns = pool.size
    known = rows == columns and (rows, pool.stride) in _POOLS
    if not known or pool.padding[0] or pool.padding[2]:
        raise CompileError(
            f"layer {layer.name!r}: max pooling of {rows}x{columns} with stride {pool.stride} and "
            f"padding {pool.padding} is not supported, 2x2 and 3x3 with stride 1 or 2 and no "
            "padding at top and left are"
        )


def _check_shortcut(layer: Layer, shortcut: Layer) -> None:
    """Refuse a shortcut whose sums the drain cannot add."""
    assert layer.shortcut is not None
    stride = layer.shortcut.stride
    if stride not in _STRIDES:
        raise CompileError(
            f"layer {layer.name!r}: a shortcut with a stride of {stride} is not supported, "
            f"those of {', '.join(map(str, _STRIDES))} are"
        )
    if shortcut.largest_sum > _LARGEST_ADDEND:
        raise CompileError(
            f"layer {layer.name!r}: a shortcut that averages {stride}x{stride} elements is not "
            "supported, 2x2 are"
        )


def block_rows(layer: Layer) -> int:
    """Return by how many output rows the pooling windows step, 1 without pooling."""
    return 1 if layer.pool is None else layer.pool.stride


def fitting_rows(layer: Layer, convolution: Convolution | None, config: AcceleratorConfig) -> int:
    """Return how many channel rows the accumulators hold of the smallest tile.

    Of a convolution that is a tile of one block; where pooling windows overlap, all blocks, as the
    rows that two windows have are computed once.

    Raises
    ------
    CompileError
        If the accumulators do not hold that tile of one channel row.
    """
    if convolution is None:
        return config.acc_depth
    blocks = _cluster_blocks(layer, convolution, config) if _windows_overlap(layer) else 1
    positions = blocks * block_rows(layer) * convolution.output_size[1] * _sums(layer)
    if positions > config.acc_depth:
        reason = ", for pooling windows that overlap" if _windows_overlap(layer) else ""
        raise CompileError(
            f"layer {layer.name!r}: needs {positions} accumulators a lane{reason}, "
            f"acc_depth is {config.acc_depth}"
        )
    # A list's rows are offsets of at most the accumulators from that of its activation's column.
    columns = -(-convolution.window.size[1] // convolution.window.stride)
    if columns > config.acc_depth:
        raise CompileError(
            f"layer {layer.name!r}: needs {columns} accumulators a lane for the columns of its "
            f"kernel, acc_depth is {config.acc_depth}"
        )
    return config.acc_depth // max(positions, columns)


def channel_parts(
    layer: Layer, convolution: Convolution | None, config: AcceleratorConfig
) -> tuple[Part, ...]:
    """Split the channel rows, only as far as the accumulators demand it.

    Raises
    ------
    CompileError
        If the accumulators do not hold the smallest tile of one channel row.
    """
    total = -(-len(layer.weight) // config.lanes)
    parts = -(-total // fitting_rows(layer, convolution, config))
    rows = -(-total // parts)
    return tuple(
        Part(first_row=first, rows=min(rows, total - first)) for first in range(0, total, rows)
    )


def row_tiles(
    layer: Layer, convolution: Convolution, part: Part, config: AcceleratorConfig
) -> tuple[Tile, ...]:
    """Split the output rows into as few tiles as the accumulators allow, of about equal size."""
    blocks = _cluster_blocks(layer, convolution, config)
    line_rows = convolution.output_size[1] * part.rows * _sums(layer)
    fitting = config.acc_depth // (block_rows(layer) * line_rows)
    tiles = -(-blocks // fitting)
    size = -(-blocks // tiles)
    return tuple(
        Tile(first_block=first, blocks=min(size, blocks - first))
        for first in range(0, blocks, size)
    )


def part_tiles(
    layer: Layer, convolution: Convolution, part: Part, config: AcceleratorConfig
) -> tuple[Tile, ...]:
    """Return the tiles that a part's lists are for."""
    if part.tile is not None:
        return (part.tile,)
    return row_tiles(layer, convolution, part, config)


def _sums(layer: Layer) -> int:
    """Return the accumulators of an output: one more where a shortcut is summed."""
    return 1 if shortcut_layer(layer) is None else 2


def _windows_overlap(layer: Layer) -> bool:
    return layer.pool is not None and layer.pool.size[0] > layer.pool.stride


def _cluster_blocks(layer: Layer, convolution: Convolution, config: AcceleratorConfig) -> int:
    """Return the local blocks of the cluster with most of them."""
    return -(-convolution.output_size[0] // (block_rows(layer) * config.clusters))
