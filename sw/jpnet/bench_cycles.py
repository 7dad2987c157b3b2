"""Measures the cycle model against the generated Verilog: `python -m jpnet.bench_cycles`."""

import argparse
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jpnet.compilation import compile_model, load_compiled
from jpnet.emission import emit_verilog, is_verilog_of
from jpnet.estimation import estimate
from jpnet.images import load_test_images
from jpnet.json_file import write_json
from jpnet.layer_cycles import measure_layers
from jpnet.provenance import provenance
from jpnet.workspace import Workspace
from jpnet.zoo import load_model
from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.runner import run_native
from jpnet_spec.configs import PRESETS
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_sw.compiler import CompileError
from jpnet_sw.zoo import zoo_names

__all__ = ["CYCLES_KIND", "compare_model", "main"]

CYCLES_KIND = "cycle-model"
"""Kind of the file with the results."""

_IMAGES, _ALONE = 200, 20


def _percent(predicted: float, measured: float) -> float:
    return 100 * (predicted - measured) / measured


def _seconds(schedule: Any, traces: Mapping[str, Any], images: Any) -> float:
    """Return the processor's time of a run of the model."""
    model = CycleModel(schedule, traces, images)
    model.run()
    start = time.process_time()
    model.run()
    return time.process_time() - start


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare_model(
    workspace: Workspace, *, data_root: Path | None, images: int = _IMAGES, alone: int = _ALONE
) -> dict[str, Any]:
    """Return what is predicted and what the Verilog takes, for a zoo network on a preset.

    Verilog of the preset that the workspace holds is used, otherwise it is generated.
    Speeds are cycles per second of the processor's time, without the making of the simulator and
    of the model's tables.

    Parameters
    ----------
    workspace
        Names both.
    data_root
        Folder of the data sets.
    images, alone
        Test images, back to back and one at a time.

    Raises
    ------
    CompileError
        If the network does not fit.
    """
    compile_model(workspace, data_root=data_root)
    network = load_model(workspace)
    schedule = load_compiled(workspace, network)
    data = load_test_images(network, data_root=data_root, count=images)
    if not is_verilog_of(schedule.config, workspace.rtl_folder):
        emit_verilog(schedule.config, workspace.rtl_folder)
    options: dict[str, Any] = {
        "verilog_dir": workspace.rtl_folder,
        "cache_dir": workspace.cache_folder,
    }
    layers = measure_layers(schedule, images=data.images[:alone], **options)
    before = _children_seconds()
    together = run_native(schedule=schedule, images=data.images, **options)
    seconds = _children_seconds() - before
    traces = network.run(data.images)
    predicted = estimate(schedule, traces, data.images, latency_images=alone)
    cycles = together.counters[Counter.CYCLES]
    verilog_speed = together.simulated_cycles / seconds
    model_speed = cycles / _seconds(schedule, traces, data.images)
    return {
        "model": workspace.model_name,
        "config": workspace.config_name,
        "images": images,
        "cycles_total": {
            "predicted": predicted["cycles_total"],
            "measured": cycles / images,
            "error_percent": _percent(predicted["cycles_total"], cycles / images),
        },
        "stalls": {
            item.name: {
                "predicted": predicted["stalls"][item.name],
                "measured": together.counters[item] / images,
            }
            for item in STALL_COUNTERS
        },
        "layers": [
            {
                "name": layer.name,
                "predicted": guess["cycles"],
                "measured": layer.cycles,
                "error_percent": _percent(guess["cycles"], layer.cycles),
            }
            for layer, guess in zip(layers, predicted["layers"], strict=True)
        ],
        "cycles_per_second": {"model": model_speed, "verilog": verilog_speed},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare all networks of the zoo on all presets that they fit and write the results."""
    parser = argparse.ArgumentParser(prog="python -m jpnet.bench_cycles", description=__doc__)
    parser.add_argument("results", type=Path, help="file of the results")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of simulators")
    parser.add_argument("--data-root", type=Path, default=None, help="folder of the data sets")
    options = parser.parse_args(arguments)
    found = []
    for config in PRESETS:
        for model in zoo_names():
            workspace = Workspace(build=options.build, model=model, config=config)
            try:
                found.append(compare_model(workspace, data_root=options.data_root))
            except CompileError as error:
                sys.stdout.write(f"{model} on {config}: {error}\n")
                continue
            total = found[-1]["cycles_total"]
            sys.stdout.write(f"{model} on {config}: {total['error_percent']:+.3f} %\n")
            sys.stdout.flush()
    content = {"networks": found, "provenance": provenance(seed=0, data="mnist, digits")}
    write_json(options.results, kind=CYCLES_KIND, content=content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
