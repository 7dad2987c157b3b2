"""Bytes that a network's weights take in each encoding."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.block_rows import WEIGHT_BITS, BlockRows
from jpnet_spec.network import IntegerNetwork

__all__ = ["Encoding", "run_length_entries", "storage_bytes", "weight_bits"]

_RUN_BITS = 4
"""Bits of the run of zeros before a weight."""


class Encoding(StrEnum):
    """How the weights of a layer are stored; biases and multipliers are the same in all."""

    DENSE = "dense"
    """Every weight, 8 bits."""
    EXPLICIT = "explicit"
    """Every weight that is not 0 with its column, and where each row ends."""
    RUN_LENGTH = "run_length"
    """Every weight that is not 0 with the run of zeros before it, in 4 bits; a longer run has
    entries of weight 0. Rows follow each other, so runs go on from row to row."""
    BLOCKS = "blocks"
    """One weight for each block, see `jpnet_spec.block_rows`, and each row's block size."""


def run_length_entries(weight: NDArray[np.int8], run_bits: int = _RUN_BITS) -> int:
    """Return how many entries the weights take, those that only carry a run on included.

    Parameters
    ----------
    weight : int8, any shape
        In memory order.
    run_bits
        An entry stands for up to ``2**run_bits - 1`` zeros and one weight.
    """
    places = np.flatnonzero(weight)
    runs = np.diff(places, prepend=-1) - 1
    return int(len(places) + (runs >> run_bits).sum())


def weight_bits(weight: NDArray[np.int8]) -> dict[Encoding, int]:
    """Return the bits of one layer's weights in each encoding.

    Parameters
    ----------
    weight : int8, shape (oc, ...)
    """
    rows = weight.reshape(len(weight), -1)
    living = int(np.count_nonzero(rows))
    column_bits = (rows.shape[1] - 1).bit_length()
    blocks = BlockRows.encode(weight)
    return {
        Encoding.DENSE: WEIGHT_BITS * weight.size,
        Encoding.EXPLICIT: living * (WEIGHT_BITS + column_bits) + len(rows) * living.bit_length(),
        Encoding.RUN_LENGTH: run_length_entries(weight) * (WEIGHT_BITS + _RUN_BITS),
        Encoding.BLOCKS: blocks.size_bits + len(rows) * blocks.code_bits,
    }


def storage_bytes(network: IntegerNetwork) -> dict[str, int]:
    """Return the bytes of all layers' weights in each encoding, whole bytes for each layer."""
    totals = {encoding.value: 0 for encoding in Encoding}
    for layer in network.layers:
        for encoding, bits in weight_bits(layer.weight).items():
            totals[encoding.value] += -(-bits // 8)
    return totals
