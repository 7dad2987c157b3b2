"""What a schedule costs on the generated Verilog, with proof that it computed the right thing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.runner import BusModel, NativeRun, SimulationError, run_native
from jpnet_cosim.scoreboard import Comparison, compare, compare_counters
from jpnet_spec.counters import Counter
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.schedule import Schedule

__all__ = ["Measurement", "measure"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measurement:
    """Outcome of a simulation of many images.

    Parameters
    ----------
    comparison
        Every tensor, threshold and result against the integer network.
    counter_differences
        Counters that differ from the integer network, as (expected, got).
    logits : int8, shape (images, classes)
        The results in memory, in channel order.
    counters
        The counters of the run of all images back to back.
    cycles_total
        Cycles per image of that run.
    cycles_latency
        Cycles of a run of one image, from start to the done interrupt; mean.
    cycles_cold
        The same with the load of the program before it.
    layer_cycles
        Layer name to cycles between the previous layer's threshold and its own, images run one
        at a time; mean.
    cycles_per_second
        Speed of the simulation.
    """

    comparison: Comparison
    counter_differences: dict[Counter, tuple[int, int]]
    logits: NDArray[np.int8]
    counters: dict[Counter, int]
    cycles_total: float
    cycles_latency: float
    cycles_cold: float
    layer_cycles: dict[str, float]
    cycles_per_second: float

    @property
    def mismatches(self) -> int:
        """Values that differ, counters included."""
        return self.comparison.mismatches + len(self.counter_differences)

    def accuracy(self, labels: NDArray) -> float:
        """Return the share of images whose largest logit is the label's; the first one on a tie."""
        return float(np.mean(self.logits.argmax(axis=1) == labels))


def _check(schedule: Schedule, result: NativeRun) -> None:
    if result.error:
        raise SimulationError(
            f"simulation of {schedule.network_name} ended with error {result.error.name}"
        )


def measure(
    verilog_dir: Path,
    *,
    network: IntegerNetwork,
    schedule: Schedule,
    images: NDArray[np.int8],
    cache_dir: Path,
    latency_images: int = 100,
    bus: BusModel | None = None,
    optimise: bool = True,
) -> Measurement:
    """Simulate images back to back, some of them one at a time, and compare everything.

    Parameters
    ----------
    verilog_dir
        Folder with the emitted Verilog of the schedule's configuration.
    network, schedule
        What runs.
    images : int8, shape (images, *input_shape)
    cache_dir
        Where simulator builds are kept.
    latency_images
        How many of the images also run alone.
    bus
        The memory's behaviour.
    optimise
        As in `jpnet_cosim.verilator_build.build_native`.

    Raises
    ------
    SimulationError
        If a run ends with an error or not in time.
    """
    together = run_native(
        verilog_dir,
        schedule=schedule,
        images=images,
        cache_dir=cache_dir,
        bus=bus,
        optimise=optimise,
    )
    _check(schedule, together)
    alone = run_native(
        verilog_dir,
        schedule=schedule,
        images=images[:latency_images],
        cache_dir=cache_dir,
        images_per_run=1,
        bus=bus,
        optimise=optimise,
    )
    _check(schedule, alone)
    traces = network.run(images)
    latency = alone.counters[Counter.CYCLES] / len(alone.runs)
    ends = np.zeros((len(alone.runs), len(schedule.layers) + 1))
    for entry in alone.thresholds:
        ends[entry["image"], schedule.instruction_layers[entry["layer"]] + 1] = entry["cycle"]
    # An affine layer ends with the one before it, whose drain writes it.
    spans = np.diff(np.maximum.accumulate(ends, axis=1), axis=1).mean(axis=0)
    return Measurement(
        comparison=compare(schedule, traces, together),
        counter_differences=compare_counters(network, schedule, traces, together, images),
        logits=schedule.logical(len(schedule.layers) - 1, together.results),
        counters=together.counters,
        cycles_total=together.counters[Counter.CYCLES] / len(images),
        cycles_latency=latency,
        cycles_cold=together.load.cycles + latency,
        layer_cycles={
            plan.name: float(span) for plan, span in zip(schedule.layers, spans, strict=True)
        },
        cycles_per_second=together.cycles_per_second,
    )
