"""Cycles and stall causes of a schedule, predicted without a simulation of the Verilog."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.bus_delays import new_delays
from jpnet_cosim.cycles.bus_reads import new_reads
from jpnet_cosim.cycles.contexts import new_contexts, new_drain
from jpnet_cosim.cycles.engine import HISTORY, run_machine
from jpnet_cosim.cycles.image_loader import new_banks, new_loader
from jpnet_cosim.cycles.lane_queues import new_lanes
from jpnet_cosim.cycles.latencies import latencies
from jpnet_cosim.cycles.list_stream import new_stream, stream_tables
from jpnet_cosim.cycles.program_tables import Source, program_tables, slot_masks
from jpnet_cosim.cycles.result_writer import new_writer
from jpnet_cosim.cycles.shape import shape_of
from jpnet_cosim.cycles.token_pipe import new_pipes
from jpnet_cosim.cycles.word_reader import new_readers
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.runner import BusModel, MemoryMap
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_spec.network import LayerTrace
from jpnet_spec.schedule import Schedule

__all__ = ["CycleModel", "Estimate"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Estimate:
    """What a run takes.

    Parameters
    ----------
    counters
        As the accelerator's, but for those of activations.
    ends : int64, shape (images, instructions)
        Cycle of the run in which each instruction's drain ends.
    """

    counters: dict[Counter, int]
    ends: NDArray[np.int64]


class CycleModel:
    """The accelerator's control with its queues, pipelines and arbiters, cycle by cycle.

    No sum is computed: which activations survive is taken from the integer network.

    Parameters
    ----------
    schedule
        What runs, or a prefix of it.
    traces
        `jpnet_spec.network.IntegerNetwork.run` on the images.
    images : int8, shape (images, *input_shape)
    bus
        The memory. Random delays are as long and as frequent as those of the simulated one, but
        not the same.
    """

    def __init__(
        self,
        schedule: Schedule,
        traces: Mapping[str, LayerTrace],
        images: NDArray[np.int8],
        *,
        bus: BusModel | None = None,
    ) -> None:
        self._schedule, self._bus = schedule, bus or BusModel()
        config = schedule.config
        self._latency = latencies(config)
        self._shape = shape_of(
            config,
            in_flight=schedule.in_flight,
            streamed=schedule.stream_blocks > 0,
            memory_latency=self._bus.latency_cycles,
        )
        self._tables, sources = program_tables(schedule, self._latency)
        self._stream = stream_tables(
            ProgramEditor(schedule.program), config, base_address=self._bus.base_address
        )
        survivors = _survivors(schedule, traces, images, sources)
        self._masks = np.stack([slot_masks(self._tables.places, kept) for kept in survivors])

    def run(self, first: int = 0, count: int | None = None) -> Estimate:
        """Run images back to back.

        Parameters
        ----------
        first
            The first one.
        count
            How many; by default all.
        """
        masks = self._masks[first:][:count]
        schedule, shape, latency = self._schedule, self._shape, self._latency
        beat = schedule.config.beat_bytes
        memory = MemoryMap.of(schedule, len(self._masks), base_address=self._bus.base_address)
        lanes, idle, empty = new_lanes(shape, int(self._tables.lengths.max()))
        counts = np.zeros(len(Counter), dtype=np.int64)
        ends = np.zeros((len(masks), len(self._tables.instructions)), dtype=np.int64)
        cycles = run_machine(
            shape,
            latency,
            self._tables,
            new_contexts(shape, latency),
            new_readers(shape),
            new_pipes(shape),
            lanes,
            idle,
            empty,
            new_delays(self._bus),
            new_reads(),
            new_loader(
                images=len(masks),
                first_beat=(memory.images + first * schedule.image_bytes) // beat,
            ),
            new_banks(shape),
            new_stream(
                self._stream,
                blocks=schedule.stream_blocks,
                images=len(masks),
                in_flight=schedule.in_flight,
            ),
            self._stream,
            new_writer(first_beat=(memory.results + first * schedule.result_bytes) // beat),
            masks,
            (schedule.image_bytes // beat, schedule.result_bytes // beat),
            counts,
            ends,
            np.zeros(HISTORY, dtype=np.int64),
            new_drain(),
            np.zeros(1, dtype=np.int64),
            (len(masks) + 1) * schedule.cycles_limit_image,
        )
        assert cycles >= 0
        lane_cycles = cycles * schedule.config.mac_units
        counters = {counter: int(counts[counter]) for counter in STALL_COUNTERS}
        counters[Counter.CYCLES] = cycles
        counters[Counter.MACS] = lane_cycles - sum(counters[item] for item in STALL_COUNTERS)
        return Estimate(counters=counters, ends=ends)


def _survivors(
    schedule: Schedule,
    traces: Mapping[str, LayerTrace],
    images: NDArray[np.int8],
    sources: Mapping[Source, int],
) -> NDArray[np.bool_]:
    """Return which elements of the tensors that are read survive, in the order of the bus."""
    parts = []
    for source in sources:
        if source.layer is None:
            parts.append(schedule.layout_images(images) != 0)
            continue
        plan = schedule.layers[source.layer]
        trace = traces[plan.name]
        read = trace.survivors if source.filtered else trace.tensor
        part = np.zeros((len(images), plan.rows * schedule.config.lanes), dtype=np.bool_)
        part[:, plan.positions] = read.reshape(len(images), -1) != 0
        parts.append(part)
    found = np.concatenate(parts, axis=1)
    return np.ones_like(found) if schedule.dense else found
