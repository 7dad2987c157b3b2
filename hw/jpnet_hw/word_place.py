"""Where a word of a tensor lies and what it meets."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from jpnet_hw.skip_job import EXTENT_WIDTH
from jpnet_spec.config import AcceleratorConfig

__all__ = ["word_place_layout"]


def word_place_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return where a word lies and what its activations meet.

    ``lists`` is the first list of the activation in slot 0 in column phase 0, ``line`` the first
    accumulator row of the output row, and ``column`` that of the first pixel in the padded map.
    ``used`` is the number of slots, from slot 0, that belong to the tensor, but for the job's
    ``blank`` ones; none at the ``end`` of a job, which is no word.
    """
    return data.StructLayout(
        {
            "bank": unsigned(max(1, (config.clusters - 1).bit_length())),
            "address": unsigned(config.act_addr_width),
            "lists": unsigned(config.pointer_addr_width),
            "line": unsigned(config.acc_row_width),
            "column": unsigned(EXTENT_WIDTH + 1),
            "used": range(config.act_word + 1),
            "end": unsigned(1),
        }
    )
