"""Upper bounds on cycles, so that no simulation needs a guessed time limit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig

__all__ = ["image_cycles_limit", "load_cycles_limit"]

_BEAT_CYCLES = 4
"""Slowest accepted memory: a beat every so many cycles."""

_BUS_LATENCY = 512
"""Latencies of all transfers of one image or of the program's first and last burst."""

_LAYER_OVERHEAD = 256
"""Pipelines, threshold, fetch; far above what a layer needs."""


def load_cycles_limit(program: NDArray[np.uint32], config: AcceleratorConfig) -> int:
    """Return a bound on the cycles to load a program."""
    beats = -(-program.nbytes // config.beat_bytes)
    bursts = -(-beats // 16)
    clearing = config.acc_depth * config.contexts
    return int(beats * _BEAT_CYCLES + 64 * bursts + len(program) + clearing + _BUS_LATENCY)


def image_cycles_limit(
    layers: Sequence[tuple[int, int, Sequence[NDArray[np.int64]]]],
    bus_bytes: int,
    config: AcceleratorConfig,
) -> int:
    """Return a bound on the cycles of one image alone.

    Parameters
    ----------
    layers
        Per layer: rows read, rows drained, list lengths of every lane.
    bus_bytes
        Of the image and of the result.
    config
        The accelerator.
    """
    cycles = -(-bus_bytes // config.beat_bytes) * _BEAT_CYCLES + _BUS_LATENCY
    for source_rows, rows, lengths in layers:
        slowest = sum(int(np.sum(part + 1)) for part in lengths)
        cycles += source_rows + slowest + rows + _LAYER_OVERHEAD
    return int(cycles)
