"""Which drawings there are."""

from collections.abc import Callable

from jpnet_cosim.diagrams.block_diagram import block_diagram
from jpnet_cosim.diagrams.lane_timing import lane_timing

__all__ = ["DRAWINGS"]

DRAWINGS: dict[str, Callable[[], bytes]] = {
    "accelerator.svg": block_diagram,
    "lane-timing.svg": lane_timing,
}
"""File name to what draws it."""
