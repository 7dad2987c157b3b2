"""Cycles and stall causes of a schedule, predicted without a simulation of the Verilog."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.contexts import new_contexts
from jpnet_cosim.cycles.engine import HISTORY, run_machine
from jpnet_cosim.cycles.image_loader import new_banks, new_loader
from jpnet_cosim.cycles.lane_queues import new_lanes
from jpnet_cosim.cycles.latencies import latencies
from jpnet_cosim.cycles.program_tables import program_tables, source_offsets
from jpnet_cosim.cycles.result_writer import new_writer
from jpnet_cosim.cycles.shape import shape_of
from jpnet_cosim.cycles.token_pipe import new_pipes
from jpnet_cosim.cycles.word_reader import new_readers
from jpnet_cosim.read_counts import expected_reads
from jpnet_cosim.runner import BusModel, MemoryMap
from jpnet_spec.counters import Counter
from jpnet_spec.network import IntegerNetwork, LayerTrace
from jpnet_spec.schedule import Schedule

__all__ = ["Estimator"]


class Estimator:
    """The cycle model of a schedule.

    Parameters
    ----------
    schedule
        What runs.
    traces
        `jpnet_spec.network.IntegerNetwork.run` on the images.
    images : int8, shape (images, *input_shape)
    bus
        The memory; its stalls are not modelled.
    """

    def __init__(
        self,
        schedule: Schedule,
        traces: Mapping[str, LayerTrace],
        images: NDArray[np.int8],
        *,
        bus: BusModel | None = None,
    ) -> None:
        self._schedule = schedule
        self._bus = bus or BusModel()
        config = schedule.config
        self._latency = latencies(config)
        self._shape = shape_of(config, memory_latency=self._bus.latency_cycles)
        self._tables = program_tables(schedule, self._latency)
        self._kept = _survivors(schedule, traces, images)
        lengths = self._tables.lengths
        self._longest = int(lengths.max())

    def run(self, images: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Run images back to back."""
        schedule, shape = self._schedule, self._shape
        config = schedule.config
        kept = self._kept[images]
        memory = MemoryMap.of(schedule, len(self._kept), base_address=self._bus.base_address)
        first = memory.images // config.beat_bytes
        image_beats = schedule.image_bytes // config.beat_bytes
        result_beats = schedule.result_bytes // config.beat_bytes
        first += (images.start or 0) * image_beats
        count = len(self._tables.instructions)
        ends = np.zeros((len(kept), count), dtype=np.int64)
        counts = np.zeros(len(Counter), dtype=np.int64)
        lanes, idle, empty = new_lanes(shape, self._longest)
        cycles = run_machine(
            shape,
            self._latency,
            self._tables,
            new_contexts(shape, self._latency),
            new_readers(shape),
            new_pipes(shape),
            lanes,
            idle,
            empty,
            new_loader(images=len(kept), first_beat=first),
            new_banks(shape),
            new_writer(first_beat=memory.results // config.beat_bytes),
            kept,
            (image_beats, result_beats),
            counts,
            ends,
            np.full(shape.clusters, shape.lanes * shape.groups),
            np.zeros(HISTORY, dtype=np.int64),
            np.zeros(1, dtype=np.int64),
            np.zeros(1, dtype=np.int64),
            (len(kept) + 1) * schedule.cycles_limit_image,
        )
        assert cycles >= 0
        counts[Counter.CYCLES] = cycles
        return counts, ends


def _survivors(
    schedule: Schedule, traces: Mapping[str, LayerTrace], images: NDArray[np.int8]
) -> NDArray[np.bool_]:
    """Return which elements of image and layers survive, in the order of the bus."""
    offsets = source_offsets(schedule)
    kept = np.zeros((len(images), offsets[-1]), dtype=np.bool_)
    if schedule.dense:
        kept[:] = True
        return kept
    kept[:, : offsets[1]] = schedule.layout_images(images) != 0
    for plan, offset in zip(schedule.layers, offsets[1:-1], strict=True):
        survivors = traces[plan.name].survivors.reshape(len(images), -1)
        kept[:, offset + plan.positions] = survivors != 0
    return kept
