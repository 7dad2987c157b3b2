"""Random delays of the modelled memory."""

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.compiled import compiled
from jpnet_cosim.cycles.records import Record, record_dtype
from jpnet_cosim.runner import BusModel

__all__ = ["DELAYS", "draw_delay", "new_delays"]

_BITS = 31
"""Bits of the generator's state; its low ones are not random."""

_USED = 15
"""Bits of it that are used for a number."""

DELAYS = record_dtype(numbers="state percent longest")
"""State of the generator, the share of transfers that are delayed, and the longest delay."""


def new_delays(bus: BusModel) -> NDArray:
    """Return the generator of a memory's delays, of `DELAYS`, shape (1,)."""
    delays = np.zeros(1, dtype=DELAYS)
    delays["state"] = bus.stall_seed % (1 << _BITS)
    delays["percent"], delays["longest"] = bus.stall_percent, bus.stall_longest
    return delays


@compiled
def _draw(delays: Record, count: int) -> int:
    """Return a number below a count."""
    delays.state = (delays.state * 1103515245 + 12345) & ((1 << _BITS) - 1)
    number: int = (delays.state >> (_BITS - _USED)) * count >> _USED
    return number


@compiled
def draw_delay(delays: Record) -> int:
    """Return by how many cycles the memory delays a transfer."""
    if delays.percent == 0 or _draw(delays, 100) >= delays.percent:
        return 0
    return 1 + _draw(delays, delays.longest)
