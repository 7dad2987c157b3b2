"""Runs a schedule on images through the native simulator, whole test sets at a time."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.verilator_build import build_native
from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.schedule import Schedule

__all__ = [
    "THRESHOLD_DTYPE",
    "BusModel",
    "MemoryMap",
    "NativeRun",
    "RunRecord",
    "SimulationError",
    "row_dtype",
    "run_native",
    "tensor_rows",
]

_NEVER = 2**64 - 1

THRESHOLD_DTYPE = np.dtype(
    [("image", "<u4"), ("layer", "<u2"), ("threshold", "<u2"), ("cycle", "<u8")]
)
"""Record of one threshold."""


def row_dtype(lanes: int) -> np.dtype:
    """Return the record of one drained row; ``row`` is its number in its tensor."""
    return np.dtype([("image", "<u4"), ("layer", "<u2"), ("row", "<i4"), ("acts", "i1", (lanes,))])


def tensor_rows(
    schedule: Schedule,
    layer: NDArray[np.int64],
    address: NDArray[np.int64],
    column: NDArray[np.int64],
    bank: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the number, in its tensor, of each row written to the activation memory.

    Parameters
    ----------
    schedule
        What runs.
    layer : shape (rows,)
        Instruction that writes; those of no instruction belong to the last.
    address, column, bank : shape (rows,)
        Where the row is written.
    """
    program, config = ProgramEditor(schedule.program), schedule.config
    firsts = np.flatnonzero(np.diff(schedule.instruction_layers, prepend=-1))
    bases = np.array([program.field(int(first), "target_base") for first in firsts])
    base = np.append(bases[schedule.instruction_layers], bases[-1])
    word = address - base[np.minimum(layer, len(base) - 1)]
    rows: NDArray[np.int64] = (word * config.act_columns + column) * config.clusters + bank
    return rows


def _read_rows(path: Path, schedule: Schedule) -> NDArray[np.void]:
    """Return the simulator's record of rows, one entry for each bank that was written."""
    lanes, clusters = schedule.config.lanes, schedule.config.clusters
    # Verilated ports are whole integers of 1, 2, 4, 8 or more bytes.
    width = lanes * clusters
    whole = next((size for size in (1, 2, 4, 8) if size >= width), -(-width // 4) * 4)
    written = np.fromfile(
        path,
        dtype=[
            *(("image", "<u4"), ("layer", "<u2"), ("column", "<u2"), ("address", "<u4")),
            *(("banks", "<u8"), ("acts", "i1", (whole,))),
        ],
    )
    set_bits = written["banks"][:, None] >> np.arange(clusters, dtype=np.uint64) & np.uint64(1)
    step, bank = np.nonzero(set_bits)
    rows = np.zeros(len(step), dtype=row_dtype(lanes))
    rows["image"] = written["image"][step]
    rows["layer"] = written["layer"][step]
    layer, address, column = (
        written[name][step].astype(np.int64) for name in ("layer", "address", "column")
    )
    rows["row"] = tensor_rows(schedule, layer, address, column, bank)
    acts = written["acts"][:, :width].reshape(-1, clusters, lanes)
    rows["acts"] = acts[step, bank]
    return rows


class SimulationError(RuntimeError):
    """A run that did not end in time, broke the bus protocol or could not be simulated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BusModel:
    """Behaviour of the simulated memory.

    Parameters
    ----------
    latency_cycles
        Cycles from a request to its first answer, 0 to 64.
    stall_percent
        Share of transfers, per channel, that the memory delays.
    stall_longest
        Longest delay in cycles, 1 to 3.
    stall_seed
        Seed of the delays.
    read_error_address, write_error_address
        The beat that holds this address is answered with an error.
    base_address
        Where the program lies; images and results follow.

    Raises
    ------
    ValueError
        If a value is out of range: the cycle limits of a schedule hold for these ranges.
    """

    latency_cycles: int = 20
    stall_percent: int = 0
    stall_longest: int = 3
    stall_seed: int = 1
    read_error_address: int | None = None
    write_error_address: int | None = None
    base_address: int = 0x4000_0000

    def __post_init__(self) -> None:
        for name, low, high in (
            ("latency_cycles", 0, 64),
            ("stall_percent", 0, 100),
            ("stall_longest", 1, 3),
            ("stall_seed", 0, 2**32 - 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"BusModel.{name} must be from {low} to {high}, not {value!r}")
        if self.base_address % 4096:
            raise ValueError(
                f"BusModel.base_address must be a multiple of 4096, not {self.base_address!r}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """Outcome of one load or run.

    Parameters
    ----------
    images, images_done
        Images asked for and images whose results are in memory.
    cycles
        From the write of the command to the interrupt, seen from outside.
    error
        The error register.
    counters
        The performance counters.
    """

    images: int
    images_done: int
    cycles: int
    error: ErrorCode
    counters: dict[Counter, int]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NativeRun:
    """Everything that a simulation left behind.

    Parameters
    ----------
    rows
        Drained rows in order of time: image, layer (instruction index), row and the activations
        of all lanes; see `row_dtype`.
    thresholds
        Thresholds in order of time, with the cycle since the start of the run; see
        `THRESHOLD_DTYPE`.
    results : int8, shape (images, result bytes)
        The results in memory, in physical order.
    load
        Outcome of the program's load.
    runs
        Outcome of each run; empty when the load failed.
    simulated_cycles, seconds
        Of the whole simulation.
    """

    rows: NDArray[np.void]
    thresholds: NDArray[np.void]
    results: NDArray[np.int8]
    load: RunRecord
    runs: tuple[RunRecord, ...]
    simulated_cycles: int
    seconds: float

    @property
    def error(self) -> ErrorCode:
        """The error that ended the simulation, or `ErrorCode.NONE`."""
        return next((run.error for run in (self.load, *self.runs) if run.error), ErrorCode.NONE)

    @property
    def counters(self) -> dict[Counter, int]:
        """Sum of the counters over all runs."""
        return {counter: sum(run.counters[counter] for run in self.runs) for counter in Counter}

    @property
    def cycles_per_second(self) -> float:
        """Speed of the simulation."""
        return self.simulated_cycles / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryMap:
    """Where program, images and results lie in the simulated memory."""

    program: int
    images: int
    results: int

    @classmethod
    def of(cls, schedule: Schedule, images: int, *, base_address: int = 0) -> "MemoryMap":
        """Place a number of images one cache line past a page, so that bursts must be split."""

        def after(address: int, size: int) -> int:
            return -(-(address + size) // 4096) * 4096 + 64

        first = after(base_address, 4 * len(schedule.program))
        return cls(
            program=base_address,
            images=first,
            results=after(first, images * schedule.image_bytes),
        )


def _record(entry: dict[str, Any]) -> RunRecord:
    values = entry["counters"] or [0] * len(Counter)
    return RunRecord(
        images=entry["images"],
        images_done=entry["images_done"],
        cycles=entry["cycles"],
        error=ErrorCode(entry["error"]),
        counters={counter: int(values[counter]) for counter in Counter},
    )


def _arguments(
    bus: BusModel, schedule: Schedule, images: int, options: dict[str, Any]
) -> list[str]:
    memory = MemoryMap.of(schedule, images, base_address=bus.base_address)
    values = {
        "program-base": memory.program,
        "image-base": memory.images,
        "result-base": memory.results,
        "image-bytes": schedule.image_bytes,
        "result-bytes": schedule.result_bytes,
        "load-limit": schedule.cycles_limit_load,
        "image-limit": schedule.cycles_limit_image,
        # The run's own command, interrupt and final write, once per run and not per image.
        "run-limit": schedule.cycles_limit_image,
        "latency": bus.latency_cycles,
        "stall-percent": bus.stall_percent,
        "stall-longest": bus.stall_longest,
        "stall-seed": bus.stall_seed,
        "read-error-address": _NEVER if bus.read_error_address is None else bus.read_error_address,
        "write-error-address": _NEVER
        if bus.write_error_address is None
        else bus.write_error_address,
        **options,
    }
    return [text for name, value in values.items() for text in (f"--{name}", str(value))]


def run_native(
    verilog_dir: Path,
    *,
    schedule: Schedule,
    images: NDArray[np.int8],
    cache_dir: Path,
    images_per_run: int | None = None,
    bus: BusModel | None = None,
    waves: Path | None = None,
    optimise: bool = True,
    watchdog_cycles: int = 0,
) -> NativeRun:
    """Load a schedule's program and run images through the generated Verilog.

    Parameters
    ----------
    verilog_dir
        Folder with the emitted Verilog of the schedule's configuration.
    schedule
        Its limits bound the cycles of load and run.
    images : int8, shape (images, *input_shape)
    cache_dir
        Where simulator builds are kept.
    images_per_run
        Images of one run; by default all in one.
    bus
        The memory's behaviour.
    waves
        File for the waveforms (FST) of the runs; for few images only.
    optimise
        As in `jpnet_cosim.verilator_build.build_native`.
    watchdog_cycles
        The watchdog register; 0 disables.

    Raises
    ------
    SimulationError
        If a load or run takes longer than the schedule's limit, or the bus protocol is broken.
    BuildError
        If the simulator cannot be built.
    ValueError
        If the images do not fit the schedule.
    """
    executable = build_native(
        verilog_dir, cache_dir=cache_dir, waves=waves is not None, optimise=optimise
    )
    physical = schedule.layout_images(images)
    with tempfile.TemporaryDirectory(prefix="jpnet-") as temporary:
        folder = Path(temporary)
        schedule.program.astype("<u4").tofile(folder / "program.bin")
        physical.tofile(folder / "images.bin")
        options = {
            "out": folder,
            "program": folder / "program.bin",
            "images": folder / "images.bin",
            "images-per-run": images_per_run or max(len(images), 1),
            "waves": "" if waves is None else waves,
            "watchdog": watchdog_cycles,
        }
        arguments = _arguments(bus or BusModel(), schedule, len(images), options)
        command = [str(executable), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise SimulationError(
                f"simulator ended with exit code {result.returncode}: "
                f"{(result.stderr or result.stdout).strip()}"
            )
        summary = json.loads((folder / "summary.json").read_text())
        if summary["failure"]:
            raise SimulationError(f"simulation of {schedule.network_name}: {summary['failure']}")
        return NativeRun(
            rows=_read_rows(folder / "rows.bin", schedule),
            thresholds=np.fromfile(folder / "thresholds.bin", dtype=THRESHOLD_DTYPE),
            results=np.fromfile(folder / "results.bin", dtype=np.int8).reshape(
                len(images), schedule.result_bytes
            ),
            load=_record(summary["load"]),
            runs=tuple(_record(entry) for entry in summary["runs"]),
            simulated_cycles=summary["simulated_cycles"],
            seconds=summary["seconds"],
        )
