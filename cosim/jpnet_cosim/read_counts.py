"""How many activations the zero skippers read and drop, from the program and the tensors."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.program_tokens import tokens
from jpnet_cosim.tensors_read import tensors_read
from jpnet_spec.counters import Counter
from jpnet_spec.instruction import FIELDS
from jpnet_spec.network import LayerTrace
from jpnet_spec.schedule import Schedule

__all__ = ["expected_reads"]


def expected_reads(
    schedule: Schedule,
    traces: Mapping[str, LayerTrace],
    images: NDArray[np.int8],
) -> dict[Counter, int]:
    """Return what the counters of reads, zeros and activations below a threshold must be.

    Each instruction reads a place of its source as often as it has a token there; padding is read
    where words are not full, and dropped as zero. A dense program drops nothing.

    Parameters
    ----------
    schedule
        What runs.
    traces
        `jpnet_spec.network.IntegerNetwork.run` on the same images.
    images : int8, shape (images, *input_shape)
    """
    editor = ProgramEditor(schedule.program)
    laid = schedule.layout_images(images)
    found = dict.fromkeys((Counter.ACTS_READ, Counter.ACTS_ZERO, Counter.ACTS_BELOW), 0)
    instructions = [
        {name: editor.field(number, name) for name in FIELDS}
        for number in range(len(schedule.instruction_layers))
    ]
    for fields, tensor in zip(instructions, tensors_read(schedule, instructions), strict=True):
        assert tensor is not None
        source, theta = _source(tensor.layer, schedule, traces, laid)
        if fields["source_slot"] == 0:
            theta = np.zeros_like(theta)
        times = _times_read(fields, schedule, tensor.base, source.shape[1])
        zero = (source == 0).sum(axis=0)
        below = ((source != 0) & (np.abs(source.astype(np.int64)) <= theta[:, None])).sum(axis=0)
        found[Counter.ACTS_READ] += int(times.sum()) * len(images)
        if not schedule.dense:
            found[Counter.ACTS_ZERO] += int(times @ zero)
            found[Counter.ACTS_BELOW] += int(times @ below)
    return found


def _source(
    layer: int | None,
    schedule: Schedule,
    traces: Mapping[str, LayerTrace],
    laid: NDArray[np.int8],
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Return a layer's tensor, or the image, in the order of the bus, and the thresholds."""
    if layer is None:
        return laid, np.zeros(len(laid), dtype=np.int64)
    plan = schedule.layers[layer]
    trace = traces[plan.name]
    stored = np.zeros((len(laid), plan.rows * schedule.config.lanes), dtype=np.int8)
    stored[:, plan.positions] = trace.tensor.reshape(len(laid), -1)
    return stored, trace.threshold


def _times_read(
    fields: Mapping[str, int], schedule: Schedule, base: int, places: int
) -> NDArray[np.int64]:
    """Return how often all clusters together read each place, int64, shape (places,)."""
    config = schedule.config
    read = np.array(
        [(token.bank, token.word - base, token.slot) for token in tokens(fields, config)],
        dtype=np.int64,
    ).reshape(-1, 3)
    column, lane = np.divmod(read[:, 2], config.lanes)
    row = (read[:, 1] * config.act_columns + column) * config.clusters + read[:, 0]
    times: NDArray[np.int64] = np.bincount(row * config.lanes + lane, minlength=places)
    return times
