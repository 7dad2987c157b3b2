"""The job of a zero skipper: its share of one tensor."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.instruction import FIELDS

__all__ = ["EXTENT_WIDTH", "RUN_WIDTH", "skip_job_layout"]

EXTENT_WIDTH = 12
"""Bits of a map's height or width."""
RUN_WIDTH = 8
"""Bits of a run's number of lists, of a kernel's rows and of paddings."""


def skip_job_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return the fields of one context's job.

    Named as in `jpnet_spec.instruction.Instruction`, but: ``base`` is `source_base`; ``words`` the
    number of words to read in this bank, of a vector or a map that is read as one, where 0 words
    give the end alone; ``pooled`` tells windows of two rows; ``rows`` counts modulo the
    accumulators; ``last_column`` is one less than `output_width`. What is not a convolution has
    ``packing`` 0, ``run_lists`` 1 and ``last_column`` 0.

    ``tail`` is the number of slots of every last one of ``pixel_words`` words that belong to the
    tensor, 0 for all, and ``blank`` has the slots that belong to it in no word; in the last word of
    a packed map's row the pixels tell. An activation survives iff its magnitude exceeds ``theta``;
    with ``dense`` everything survives, zeros too. With ``divided`` input i belongs to group ``i %
    groups``. With ``limited`` the image is on its way: only the first ``limit`` words are in the
    bank yet, the others are waited for, and the last of them too, because it is asked for a cycle
    late; a convolution waits for the whole image.
    """
    return data.StructLayout(
        {
            "convolution": unsigned(1),
            "base": unsigned(config.act_addr_width),
            "words": unsigned(config.act_addr_width + 1),
            "tail": range(config.act_word),
            "blank": unsigned(config.act_word),
            "pixel_words": unsigned(config.act_addr_width + 1),
            "packing": range(config.act_word.bit_length()),
            "theta": unsigned(7),
            "dense": unsigned(1),
            "divided": unsigned(1),
            "pointer_base": unsigned(config.pointer_addr_width),
            "channel_lists": unsigned(config.pointer_addr_width),
            "limited": unsigned(1),
            "limit": unsigned(config.act_addr_width + 1),
            "stride_log2": unsigned(2),
            "pooled": unsigned(1),
            "rows": unsigned(config.acc_row_width),
            "line_rows": unsigned(config.acc_row_width),
            "first_sum": unsigned(config.acc_row_width),
            "kernel_height": unsigned(RUN_WIDTH),
            "source_height": unsigned(EXTENT_WIDTH),
            "source_width": unsigned(EXTENT_WIDTH),
            "source_row_words": unsigned(config.act_addr_width),
            "padding_top": unsigned(RUN_WIDTH),
            "padding_left": unsigned(RUN_WIDTH),
            "output_height": unsigned(EXTENT_WIDTH),
            "last_column": unsigned(EXTENT_WIDTH),
            "first_block": unsigned(EXTENT_WIDTH),
            "blocks": unsigned(EXTENT_WIDTH),
            "run_lists": unsigned(RUN_WIDTH),
            "phase_lists": unsigned(config.pointer_addr_width),
            "source_pixel_gap": unsigned(FIELDS["source_pixel_gap"].width),
        }
    )
