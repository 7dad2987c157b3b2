"""Upper bounds on cycles, so that no simulation needs a guessed time limit."""

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.instruction import Instruction
from jpnet_sw.compiler.capacity import PartLists
from jpnet_sw.compiler.lists import LaneLists

__all__ = [
    "fully_connected_cycles",
    "image_cycles_limit",
    "load_cycles_limit",
    "stream_cycles_limit",
    "tile_cycles",
]

_BEAT_CYCLES = 4
"""Slowest accepted memory: a beat every so many cycles."""

_BUS_LATENCY = 512
"""Latencies of all transfers of one image or of the program's first and last burst."""

_LAYER_OVERHEAD = 256
"""Pipelines, threshold, fetch; far above what a layer needs."""


def load_cycles_limit(program: NDArray[np.uint32], config: AcceleratorConfig) -> int:
    """Return a bound on the cycles to load a program."""
    clearing = config.acc_depth * config.contexts
    return _words_cycles(len(program), config) + clearing + _BUS_LATENCY


def stream_cycles_limit(words: int, blocks: int, config: AcceleratorConfig) -> int:
    """Return a bound on the cycles to load all blocks, each after the one before."""
    return _words_cycles(words, config) + _BUS_LATENCY * blocks


def _words_cycles(words: int, config: AcceleratorConfig) -> int:
    beats = -(-4 * words // config.beat_bytes)
    bursts = -(-beats // 16)
    return beats * _BEAT_CYCLES + 64 * bursts + words


def image_cycles_limit(
    work: int, instructions: int, bus_bytes: int, config: AcceleratorConfig
) -> int:
    """Return a bound on the cycles of one image alone.

    Parameters
    ----------
    work
        Bound on the work of all instructions, from `fully_connected_cycles` or `tile_cycles`.
    instructions
        Number of instructions.
    bus_bytes
        Of the image and of the result.
    config
        The accelerator.
    """
    transfers = -(-bus_bytes // config.beat_bytes) * _BEAT_CYCLES + _BUS_LATENCY
    return transfers + work + _LAYER_OVERHEAD * instructions


def fully_connected_cycles(source_rows: int, lists: PartLists) -> int:
    """Return a bound on the cycles of a tile, one lane after the other.

    Parameters
    ----------
    source_rows
        Rows read.
    lists
        Of the tile's channels.
    """
    return source_rows + lists.part.rows + sum(_walk(lane) for lane in lists.lanes.values())


def tile_cycles(tile: Instruction, lists: PartLists, config: AcceleratorConfig) -> int:
    """Return a bound on the cycles of a tile, one lane after the other.

    Parameters
    ----------
    tile
        Its instruction.
    lists
        Of the tile's channels.
    config
        The accelerator.
    """
    output_rows = tile.blocks * tile.pool_stride
    # Clusters may want the same bank; no output row meets a list more than once in each column.
    words = output_rows * tile.kernel_height * tile.source_row_words * config.clusters
    walks = sum(_walk(lane) for lane in lists.lanes.values())
    products = output_rows * tile.source_width * walks
    # Every window's positions are read, there are as many windows as the blocks have columns.
    windows = tile.blocks * -(-tile.output_width // tile.pool_stride)
    drain = windows * tile.pool_window**2 * tile.rows
    return words * config.act_word + products + drain


def _walk(lists: LaneLists) -> int:
    """Return the cycles to look up and walk all lists once."""
    return len(lists.starts) + len(lists.entries)
