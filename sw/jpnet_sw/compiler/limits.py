"""Upper bounds on cycles, so that no simulation needs a guessed time limit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import UNIT_WORDS, HeaderWord
from jpnet_spec.instruction import Instruction
from jpnet_sw.compiler.capacity import PartLists
from jpnet_sw.compiler.instructions import StepPlace
from jpnet_sw.compiler.lists import LaneLists

__all__ = ["load_cycles_limit", "program_cycles_limit"]

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


def program_cycles_limit(
    places: Sequence[StepPlace],
    instructions: Sequence[Sequence[tuple[int, Instruction]]],
    program: NDArray[np.uint32],
    image_rows: int,
    config: AcceleratorConfig,
) -> int:
    """Return a bound on the cycles of one image alone, with all blocks of the stream.

    Parameters
    ----------
    places
        All steps.
    instructions
        From `step_instructions`, of each step.
    program : uint32, shape (words,)
    image_rows
        Rows of an image.
    config
        An accelerator whose contexts have what each image in flight has.
    """
    bus_rows = image_rows + places[-1].target.layout.rows + 2 * config.beat_rows
    transfers = -(-bus_rows * config.lanes // config.beat_bytes) * _BEAT_CYCLES + _BUS_LATENCY
    work = sum(map(_step_cycles, places, instructions, [config] * len(places)))
    overhead = _LAYER_OVERHEAD * sum(map(len, instructions))
    words = len(program) - int(program[HeaderWord.TOTAL_WORDS])
    blocks = int(program[HeaderWord.BLOCKS])
    return transfers + work + overhead + _words_cycles(words, config) + _BUS_LATENCY * blocks


def _step_cycles(
    place: StepPlace, instructions: Sequence[tuple[int, Instruction]], config: AcceleratorConfig
) -> int:
    """Return a bound on the cycles of a step's instructions, bar what each of them costs."""
    parts = place.lists.parts
    if place.layer.convolution is None:
        return sum(_vector_cycles(place.source.layout.rows, part) for part in parts)
    return sum(_tile_cycles(item, parts[number], config) for number, item in instructions)


def _words_cycles(words: int, config: AcceleratorConfig) -> int:
    beats = -(-4 * words // config.beat_bytes)
    bursts = -(-beats // 16)
    return beats * _BEAT_CYCLES + 64 * bursts + words // UNIT_WORDS


def _vector_cycles(source_rows: int, lists: PartLists) -> int:
    """Return a bound on the cycles of a tile, one lane after the other.

    Parameters
    ----------
    source_rows
        Rows read.
    lists
        Of the tile's channels.
    """
    return source_rows + lists.part.rows + sum(_walk(lane) for lane in lists.lanes.values())


def _tile_cycles(tile: Instruction, lists: PartLists, config: AcceleratorConfig) -> int:
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
    # Two cycles a row where something is added or a second tensor is written.
    drain = 2 * windows * tile.pool_window**2 * tile.rows
    return words * config.act_word + products + drain


def _walk(lists: LaneLists) -> int:
    """Return the cycles to look up and walk all lists once."""
    return len(lists.starts) + len(lists.entries)
