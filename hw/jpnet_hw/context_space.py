"""Places in memories that the images in flight share.

Such a memory has a part for each context. Where fewer images are in flight than there are contexts,
each has the parts of several: the upper bits of its addresses name contexts that hold no image.
"""

from amaranth.hdl import Cat, Value
from amaranth.utils import exact_log2

from jpnet_spec.config import AcceleratorConfig

__all__ = ["accumulator_place", "bank_address"]


def _part(config: AcceleratorConfig, context: Value, upper: Value) -> Value:
    """Return the part's number.

    The highest bit of a context's number is the first that stays 0 when fewer images are in flight,
    and the lowest bit of the upper ones is the first that an address then needs.
    """
    bits = exact_log2(config.contexts)
    return Cat(context[bit] | upper[bits - 1 - bit] for bit in range(bits))


def bank_address(config: AcceleratorConfig, context: Value, address: Value) -> Value:
    """Return where a context's word lies in a bank."""
    low = exact_log2(config.act_depth)
    return Cat(address[:low], _part(config, context, address[low:]))


def accumulator_place(config: AcceleratorConfig, context: Value, row: Value) -> tuple[Value, Value]:
    """Return whose accumulator memory holds a context's row, and the row's address there."""
    low = config.acc_addr_width
    return _part(config, context, row[low:]), row[:low]
