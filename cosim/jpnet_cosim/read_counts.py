"""How many activations the zero skippers read and drop, from the program and the tensors."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.program_tokens import tokens
from jpnet_spec.counters import Counter
from jpnet_spec.instruction import FIELDS, LayerFlag
from jpnet_spec.network import INPUT, IntegerNetwork, LayerTrace
from jpnet_spec.schedule import Schedule

__all__ = ["expected_reads"]


def expected_reads(
    network: IntegerNetwork,
    schedule: Schedule,
    traces: Mapping[str, LayerTrace],
    images: NDArray[np.int8],
) -> dict[Counter, int]:
    """Return what the counters of reads, zeros and activations below a threshold must be.

    Each instruction reads a place of its source as often as it has a token there; padding is read
    where words are not full, and dropped as zero. A dense program drops nothing.

    Parameters
    ----------
    network
        What was compiled.
    schedule
        What runs.
    traces
        `jpnet_spec.network.IntegerNetwork.run` on the same images.
    images : int8, shape (images, *input_shape)
    """
    editor = ProgramEditor(schedule.program)
    laid = schedule.layout_images(images)
    found = dict.fromkeys((Counter.ACTS_READ, Counter.ACTS_ZERO, Counter.ACTS_BELOW), 0)
    layers = {layer.name: layer for layer in network.layers}
    for number, index in enumerate(schedule.instruction_layers):
        fields = {name: editor.field(number, name) for name in FIELDS}
        inputs = layers[schedule.layers[index].name].inputs
        summed = bool(fields["flags"] & LayerFlag.KEEP_SUMS)
        source, theta = _source(inputs[summed], schedule, traces, laid)
        if summed:
            theta = np.zeros_like(theta)
        times = _times_read(fields, schedule, source.shape[1])
        zero = (source == 0).sum(axis=0)
        below = ((source != 0) & (np.abs(source.astype(np.int64)) <= theta[:, None])).sum(axis=0)
        found[Counter.ACTS_READ] += int(times.sum()) * len(images)
        if not schedule.dense:
            found[Counter.ACTS_ZERO] += int(times @ zero)
            found[Counter.ACTS_BELOW] += int(times @ below)
    return found


def _source(
    name: str, schedule: Schedule, traces: Mapping[str, LayerTrace], laid: NDArray[np.int8]
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Return a tensor in the order of the bus, and each image's threshold."""
    if name == INPUT:
        return laid, np.zeros(len(laid), dtype=np.int64)
    plan = next(plan for plan in schedule.layers if plan.name == name)
    trace = traces[name]
    stored = np.zeros((len(laid), plan.rows * schedule.config.lanes), dtype=np.int8)
    stored[:, plan.positions] = trace.tensor.reshape(len(laid), -1)
    return stored, trace.threshold


def _times_read(fields: Mapping[str, int], schedule: Schedule, places: int) -> NDArray[np.int64]:
    """Return how often all clusters together read each place, int64, shape (places,)."""
    config = schedule.config
    read = np.array(
        [
            (token.bank, token.word - fields["source_base"], token.slot)
            for token in tokens(fields, config)
        ],
        dtype=np.int64,
    ).reshape(-1, 3)
    column, lane = np.divmod(read[:, 2], config.lanes)
    row = (read[:, 1] * config.act_columns + column) * config.clusters + read[:, 0]
    times: NDArray[np.int64] = np.bincount(row * config.lanes + lane, minlength=places)
    return times
