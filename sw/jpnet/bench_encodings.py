"""Weight list encodings side by side on the Verilog: `python -m jpnet.bench_encodings`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet.emission import emit_verilog, is_verilog_of
from jpnet.images import LabelledImages, load_calibration_images, load_test_images
from jpnet.json_file import write_json
from jpnet.provenance import provenance
from jpnet.training import run_name, train_model
from jpnet.workspace import Workspace
from jpnet.zoo import load_model
from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.runner import BusModel, run_native
from jpnet_cosim.scoreboard import compare
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.counters import Counter
from jpnet_spec.image import Memory
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.schedule import Schedule
from jpnet_sw.compiler import ListEncoding, compile_network

__all__ = ["ENCODINGS_KIND", "list_bits", "main"]

ENCODINGS_KIND = "list-encodings"
"""Kind of the file with the results."""

_BUS = BusModel(latency_cycles=30, stall_percent=50, stall_seed=1)
"""A slow memory: every other transfer is late, at random."""

_BLOCKS = "darb"
_OPTIONS = ("lanes=4", "densities=0.5,0.125,0.03125,0.34")
_BUDGET = 0.25
_SEED = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """A network on an accelerator."""

    title: str
    model: str
    config: AcceleratorConfig
    images: int


_CASES = (
    _Case(
        title="convnet5, edge16 with a decoder",
        model="convnet5",
        config=replace(PRESETS["edge16"], list_decoder=1),
        images=4,
    ),
    _Case(
        title="lenet4 with DARB lists, edge16 with a decoder",
        model=run_name("lenet4", "mnist", _BLOCKS),
        config=replace(PRESETS["edge16"], list_decoder=1),
        images=40,
    ),
)


def list_bits(schedule: Schedule) -> int:
    """Return the bits of all weights in a program image, headers of sections included."""
    editor = ProgramEditor(schedule.program)
    streamed = (section for block in editor.blocks for section in block.sections)
    sections = [*editor.sections, *streamed]
    weights = [section for section in sections if section.memory is Memory.WEIGHT]
    return 32 * sum(section.end - section.offset for section in weights)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every network with its lists in every encoding, compare and write the results."""
    parser = argparse.ArgumentParser(prog="python -m jpnet.bench_encodings", description=__doc__)
    parser.add_argument("results", type=Path, help="file of the results")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of simulators")
    parser.add_argument("--data-root", type=Path, help="folder of the data sets")
    options = parser.parse_args(arguments)
    train_model(
        "lenet4",
        data="mnist",
        seed=_SEED,
        build=options.build,
        data_root=options.data_root,
        resume=True,
        method=_BLOCKS,
        options=_OPTIONS,
        budget=_BUDGET,
    )
    networks = []
    for case in _CASES:
        workspace = Workspace(build=options.build, model=case.model, config="edge16")
        network = load_model(workspace)
        networks.append(
            {
                "network": case.title,
                "accuracy_int8": network.metadata["accuracy_int8"],
                "images": case.images,
                "config_parameters": case.config.as_dict(),
                "encodings": _measure(
                    case,
                    network,
                    load_calibration_images(network, data_root=options.data_root),
                    load_test_images(network, data_root=options.data_root, count=case.images),
                    options.build,
                ),
            }
        )
    content = {
        "bus": {"latency_cycles": _BUS.latency_cycles, "stall_percent": _BUS.stall_percent},
        "networks": networks,
        "provenance": provenance(seed=_SEED, data="cifar-10, mnist"),
    }
    write_json(options.results, kind=ENCODINGS_KIND, content=content)
    return 0


def _measure(
    case: _Case,
    network: IntegerNetwork,
    calibration: NDArray[np.int8],
    images: LabelledImages,
    build: Path,
) -> list[dict[str, Any]]:
    """Run a network's images in every encoding."""
    verilog = build / "encodings" / f"{case.config.config_hash:08x}"
    if not is_verilog_of(case.config, verilog):
        emit_verilog(case.config, verilog)
    traces = network.run(images.images)
    living = sum(int(np.count_nonzero(layer.weight)) for layer in network.layers)
    macs = sum(int(trace.macs_effective.sum()) for trace in traces.values())
    found = []
    for encoding in ListEncoding:
        schedule = compile_network(network, case.config, calibration, encoding=encoding)
        run = run_native(
            verilog, schedule=schedule, images=images.images, cache_dir=build / "cache", bus=_BUS
        )
        comparison = compare(schedule, traces, run)
        if comparison.mismatches:
            raise ValueError(f"{network.name}, {encoding.value}: {comparison}")
        cycles = run.counters[Counter.CYCLES]
        predicted = CycleModel(schedule, traces, images.images, bus=_BUS).run().counters
        sys.stdout.write(f"{network.name}, {encoding.value}: {cycles / case.images:,.0f} cycles\n")
        found.append(
            {
                "encoding": encoding.value,
                "values_compared": comparison.values,
                "mismatches": 0,
                "bits_per_weight": list_bits(schedule) / living,
                "program_bytes": schedule.program.nbytes,
                "stream_bytes": schedule.stream_bytes,
                "cycles_per_image": cycles / case.images,
                "cycles_per_image_predicted": predicted[Counter.CYCLES] / case.images,
                "fraction_of_bound": macs / case.config.mac_units / cycles,
            }
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
