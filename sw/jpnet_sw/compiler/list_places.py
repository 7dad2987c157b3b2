"""Where the lists of each part of a layer lie in the lanes' memories."""

from collections.abc import Sequence
from dataclasses import dataclass

from jpnet_sw.compiler.capacity import LayerLists

__all__ = ["ListPlace", "resident_places"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ListPlace:
    """First addresses of a part's lists, the same in all lanes.

    Parameters
    ----------
    weights
        Entries of the weight memory.
    pointers
        Entries of the list table.
    block
        Block of the stream that brings them, None where they stay.
    ends_block
        Whether no later part uses that block.
    """

    weights: int
    pointers: int
    block: int | None = None
    ends_block: bool = False


def resident_places(lists: Sequence[LayerLists]) -> list[tuple[ListPlace, ...]]:
    """Place all lists one after the other."""
    weights = pointers = 0
    places = []
    for layer in lists:
        of_layer = []
        for part in layer.parts:
            of_layer.append(ListPlace(weights=weights, pointers=pointers))
            weights += part.entries
            pointers += part.table
        places.append(tuple(of_layer))
    return places
