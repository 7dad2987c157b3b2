"""Measures the cycle model against the generated Verilog: `python -m jpnet.bench_cycles`."""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from jpnet_cosim.map_samples import random_maps
from jpnet_cosim.residual_samples import ResidualShape, residual_network
from jpnet_cosim.runner import run_native
from jpnet_spec.configs import PRESETS
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.schedule import Schedule
from jpnet_sw.compiler import CompileError, compile_network
from jpnet_sw.zoo import zoo_names

__all__ = ["CYCLES_KIND", "compare", "compare_model", "compare_residual", "main"]

CYCLES_KIND = "cycle-model"
"""Kind of the file with the results."""

_IMAGES, _ALONE = 200, 20
_RESIDUAL_IMAGES, _RESIDUAL_ALONE, _SEED = 8, 1, 0

_RESIDUAL = {
    f"resnet{6 * blocks + 2}-random": ResidualShape(
        size=32, stages=(16, 32, 64), blocks=blocks, pre_activation=True
    )
    for blocks in (3, 5)
}
"""Thin residual networks with random masks; their lists are streamed."""


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


def compare(
    schedule: Schedule,
    network: IntegerNetwork,
    images: NDArray[np.int8],
    *,
    workspace: Workspace,
    alone: int,
) -> dict[str, Any]:
    """Return what is predicted and what the Verilog takes.

    Verilog that the workspace holds is used, otherwise it is generated. Speeds are cycles per
    second of the processor's time, without the making of the simulator and of the model's tables.

    Parameters
    ----------
    schedule, network
        What runs.
    images : int8, shape (images, *input_shape)
        Back to back.
    workspace
        Names the network and the accelerator.
    alone
        How many of the images run one at a time, too.
    """
    if not is_verilog_of(schedule.config, workspace.rtl_folder):
        emit_verilog(schedule.config, workspace.rtl_folder)
    options: dict[str, Any] = {
        "verilog_dir": workspace.rtl_folder,
        "cache_dir": workspace.cache_folder,
    }
    layers = measure_layers(schedule, images=images[:alone], **options)
    before = _children_seconds()
    together = run_native(schedule=schedule, images=images, **options)
    seconds = _children_seconds() - before
    traces, count = network.run(images), len(images)
    predicted = estimate(schedule, traces, images, latency_images=alone)
    cycles = together.counters[Counter.CYCLES]
    verilog_speed = together.simulated_cycles / seconds
    model_speed = cycles / _seconds(schedule, traces, images)
    return {
        "model": workspace.model_name,
        "config": workspace.config_name,
        "images": count,
        "stream_blocks": schedule.stream_blocks,
        "cycles_total": {
            "predicted": predicted["cycles_total"],
            "measured": cycles / count,
            "error_percent": _percent(predicted["cycles_total"], cycles / count),
        },
        "stalls": {
            item.name: {
                "predicted": predicted["stalls"][item.name],
                "measured": together.counters[item] / count,
            }
            for item in STALL_COUNTERS
        },
        # The drain of another layer writes an affine one; it takes no cycles of its own.
        "layers": [
            {
                "name": layer.name,
                "predicted": guess["cycles"],
                "measured": layer.cycles,
                "error_percent": _percent(guess["cycles"], layer.cycles),
            }
            for layer, guess in zip(layers, predicted["layers"], strict=True)
            if layer.cycles
        ],
        "cycles_per_second": {"model": model_speed, "verilog": verilog_speed},
    }


def compare_model(workspace: Workspace, *, data_root: Path | None) -> dict[str, Any]:
    """Compare on test images, for a zoo network on a preset; see `compare`.

    Parameters
    ----------
    workspace
        Names both.
    data_root
        Folder of the data sets.

    Raises
    ------
    CompileError
        If the network does not fit.
    """
    compile_model(workspace, data_root=data_root)
    network = load_model(workspace)
    schedule = load_compiled(workspace, network)
    data = load_test_images(network, data_root=data_root, count=_IMAGES)
    return compare(schedule, network, data.images, workspace=workspace, alone=_ALONE)


def compare_residual(workspace: Workspace, shape: ResidualShape) -> dict[str, Any]:
    """Compare on random images, for a residual network with random masks on a preset.

    Parameters
    ----------
    workspace
        Names both.
    shape
        Of the network.

    Raises
    ------
    CompileError
        If the network does not fit.
    """
    rng = np.random.default_rng(_SEED)
    network = residual_network(rng, shape)
    images = random_maps(rng, _RESIDUAL_IMAGES, network.input_shape)
    schedule = compile_network(network, PRESETS[workspace.config_name])
    return compare(schedule, network, images, workspace=workspace, alone=_RESIDUAL_ALONE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare all networks on all presets that they fit and write the results."""
    parser = argparse.ArgumentParser(prog="python -m jpnet.bench_cycles", description=__doc__)
    parser.add_argument("results", type=Path, help="file of the results")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of simulators")
    parser.add_argument("--data-root", type=Path, default=None, help="folder of the data sets")
    options = parser.parse_args(arguments)
    makers: dict[str, Callable[[Workspace], dict[str, Any]]] = {
        model: partial(compare_model, data_root=options.data_root) for model in zoo_names()
    }
    makers |= {name: partial(compare_residual, shape=shape) for name, shape in _RESIDUAL.items()}
    found = []
    for config in PRESETS:
        for model, make in makers.items():
            workspace = Workspace(build=options.build, model=model, config=config)
            try:
                found.append(make(workspace))
            except CompileError as error:
                sys.stdout.write(f"{model} on {config}: {error}\n")
                continue
            total = found[-1]["cycles_total"]
            sys.stdout.write(f"{model} on {config}: {total['error_percent']:+.3f} %\n")
            sys.stdout.flush()
    content = {"networks": found, "provenance": provenance(seed=_SEED, data="mnist, digits")}
    write_json(options.results, kind=CYCLES_KIND, content=content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
