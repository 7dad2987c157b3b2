"""What the drain knows of its jobs, and of each row that it drains."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from jpnet_hw.layouts import context_shape
from jpnet_hw.skip_job import EXTENT_WIDTH
from jpnet_spec.config import AcceleratorConfig

__all__ = ["drain_job_layout", "drain_step_layout"]


def drain_job_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return the fields of an instruction that the drain needs, named as there.

    ``last_row`` is one less than the instruction's rows, ``last_tap`` one less than the extent of
    the pooling windows; ``pooled`` tells that their stride is 2. ``carried``, ``summed`` and
    ``second`` tell what else is added and written; neither with pooling nor of a vector.
    """
    return data.StructLayout(
        {
            "convolution": unsigned(1),
            "pooled": unsigned(1),
            "last_tap": unsigned(2),
            "first_tile": unsigned(1),
            "last_tile": unsigned(1),
            "carried": unsigned(1),
            "summed": unsigned(1),
            "second": unsigned(1),
            "last_row": unsigned(config.acc_row_width),
            "target_base": unsigned(config.act_addr_width),
            "param_base": unsigned((config.param_depth - 1).bit_length()),
            "shift": unsigned(6),
            "winners": unsigned(24),
            "threshold_mode": unsigned(2),
            "static_threshold": unsigned(7),
            "output_height": unsigned(EXTENT_WIDTH),
            "output_width": unsigned(EXTENT_WIDTH),
            "stored_height": unsigned(EXTENT_WIDTH),
            "stored_width": unsigned(EXTENT_WIDTH),
            "first_block": unsigned(EXTENT_WIDTH),
            "blocks": unsigned(EXTENT_WIDTH),
            "first_column": range(max(2, config.act_columns)),
            "line_rows": unsigned(config.acc_row_width),
            "summed_row": unsigned(config.acc_row_width),
            "carried_base": unsigned(config.act_addr_width),
            "carried_multiplier": unsigned(16),
            "second_base": unsigned(config.act_addr_width),
            "second_params": unsigned((config.param_depth - 1).bit_length()),
            "second_shift": unsigned(6),
            "target_pixel_words": unsigned(config.act_addr_width),
            "target_row_words": unsigned(config.act_addr_width),
            "sample_stride": unsigned(9),
            "sample_start": unsigned(8),
            "sample_cluster": unsigned(8),
            "sample_block": unsigned(8),
            "sample_line": unsigned(8),
        }
    )


def drain_step_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Return what is known of a row that is being drained.

    ``first`` and ``last`` mark a job's ends. A pooling window's rows, in ``window_first`` to
    ``window_last``, follow each other; without pooling each row is both. ``pixel_last`` and
    ``line_last`` mark the last window of a pixel and of a line of pixels. ``live`` has a bit for
    each place: the output row that its window has there exists. That row was read by the cluster
    ``turn`` further, of a vector 0. ``counted`` marks rows that no earlier window had, and
    ``right`` and ``lower`` the position of those in the window. Where a job writes two tensors, a
    row takes two steps: only that of the second one, which is ``again`` the same row, is ``final``.
    """
    return data.StructLayout(
        {
            "context": context_shape(config),
            "channel_row": unsigned(config.acc_row_width),
            "first": unsigned(1),
            "last": unsigned(1),
            "window_first": unsigned(1),
            "window_last": unsigned(1),
            "pixel_last": unsigned(1),
            "line_last": unsigned(1),
            "right": unsigned(1),
            "lower": unsigned(1),
            "counted": unsigned(1),
            "turn": range(max(2, config.clusters)),
            "again": unsigned(1),
            "final": unsigned(1),
            "live": unsigned(config.clusters),
        }
    )
