"""Names of the performance counters, the same in reference, hardware and report."""

from enum import IntEnum

__all__ = ["COUNTER_WIDTH", "STALL_COUNTERS", "Counter"]

COUNTER_WIDTH = 48
"""Bits of a counter; a run of 2**48 lane cycles outlasts any use."""


class Counter(IntEnum):
    """Position of each counter in the register map."""

    CYCLES = 0
    """Cycles from the start of the run to the done interrupt."""
    MACS = 1
    """Products issued by all lanes."""
    ACTS_READ = 2
    """Activations examined by the zero skippers."""
    ACTS_ZERO = 3
    """Activations dropped because they are zero."""
    ACTS_BELOW = 4
    """Non-zero activations dropped by the threshold."""
    IDLE_NO_ACTIVATION = 5
    """Lane cycles without a product: the zero skippers had none to give yet."""
    IDLE_IMBALANCE = 6
    """Lane cycles without a product: other lanes still work, or hold up the dispatcher."""
    IDLE_LIST_EMPTY = 7
    """Lane cycles without a product: the activation meets no weight in this lane."""
    IDLE_DRAIN = 8
    """Lane cycles without a product: all images in flight are draining."""
    IDLE_TOPN = 9
    """Lane cycles without a product: all images in flight wait for a threshold."""
    IDLE_MEMORY = 10
    """Lane cycles without a product: waiting for images, instructions, streamed lists, results."""


STALL_COUNTERS = (
    Counter.IDLE_NO_ACTIVATION,
    Counter.IDLE_IMBALANCE,
    Counter.IDLE_LIST_EMPTY,
    Counter.IDLE_DRAIN,
    Counter.IDLE_TOPN,
    Counter.IDLE_MEMORY,
)
"""With the products they account for every lane in every cycle of a run."""
