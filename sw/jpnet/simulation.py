"""Test images through the generated Verilog: proof of equality, accuracy, cycles."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet.compilation import load_compiled
from jpnet.dense import compile_dense, compile_weight_only, without_filters
from jpnet.emission import emit_verilog, find_verilog
from jpnet.images import LabelledImages
from jpnet.json_file import write_json
from jpnet.layer_cycles import measure_layers
from jpnet.provenance import provenance
from jpnet.workspace import Workspace
from jpnet.zoo import load_model
from jpnet_cosim.measure import Measurement, measure
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import Counter
from jpnet_spec.network import IntegerNetwork, LayerTrace
from jpnet_spec.schedule import Schedule

__all__ = ["SIMULATION_KIND", "MismatchError", "simulate", "worth_optimising"]

SIMULATION_KIND = "simulation"
"""Kind of the file that `simulate` writes."""

_ALONE = 100
"""Images that also run one at a time, for latencies."""

_LAYERED = 20
"""Images from which the layers' cycles are taken."""

_DENSE = 8
"""Images of the runs that skip no activation, whose cycles do not depend on them."""

_REPAID_CYCLES = 300_000
"""Cycles, as products by lanes, of runs for which the simulator is optimised."""

_UNSKIPPED = {"dense": compile_dense, "weight_only": compile_weight_only}
"""What the network is compared with, by the name of its part of the file."""


class MismatchError(RuntimeError):
    """The hardware computed something else than the integer network."""


def _reference_layers(
    network: IntegerNetwork, traces: dict[str, LayerTrace]
) -> list[dict[str, Any]]:
    """Return the counts of each layer on the integer network, per image."""
    return [
        {
            "name": layer.name,
            "macs_dense": layer.macs_dense,
            "macs_weight_only": int(np.count_nonzero(layer.weight)),
            "macs_effective": float(traces[layer.name].macs_effective.mean()),
            "weights": int(layer.weight.size),
            "weights_nonzero": int(np.count_nonzero(layer.weight)),
            "inputs": float(traces[layer.name].inputs_read.mean()),
            "inputs_zero": float(traces[layer.name].inputs_zero.mean()),
            "inputs_below": float(traces[layer.name].inputs_below.mean()),
            "outputs": layer.elements,
            "outputs_surviving": float(
                np.count_nonzero(traces[layer.name].survivors) / len(traces[layer.name].survivors)
            ),
        }
        for layer in network.layers
    ]


def worth_optimising(network: IntegerNetwork, config: AcceleratorConfig, images: int) -> bool:
    """Return whether the runs are so long that the compiler should optimise the simulator.

    Parameters
    ----------
    network, config
        What runs, and on what.
    images
        How many of them are simulated; the runs without skipping have a few.
    """
    products = images * sum(layer.macs_weight_only for layer in network.layers)
    products += min(images, _DENSE) * network.macs_dense
    return products > _REPAID_CYCLES * config.mac_units


def _accuracy(logits: NDArray[np.int8], labels: NDArray[np.uint8]) -> float:
    return float(np.mean(logits.argmax(axis=1) == labels))


def _unskipped_run(
    network: IntegerNetwork,
    schedule: Schedule,
    workspace: Workspace,
    images: NDArray[np.int8],
    compile_as: Callable[[IntegerNetwork, AcceleratorConfig], Schedule],
    *,
    optimise: bool,
) -> dict[str, Any]:
    """Return the cycles on the same lanes with less skipped, or why no memory can hold it."""
    unfiltered = without_filters(network)
    try:
        dense = compile_as(unfiltered, schedule.config)
    except ValueError as error:
        return {"reason": str(error), "cycles_total": None, "mismatches": 0}
    folder = workspace.rtl_folder
    if dense.config != schedule.config:
        folder = workspace.folder / "rtl-dense"
        emit_verilog(dense.config, folder)
    found = measure(
        folder,
        network=unfiltered,
        schedule=dense,
        images=images,
        cache_dir=workspace.cache_folder,
        latency_images=1,
        optimise=optimise,
    )
    return {
        "config": dense.config.as_dict(),
        "images": len(images),
        "cycles_total": found.cycles_total,
        "mismatches": found.mismatches,
        "outcome": str(found.comparison),
    }


def _unskipped_runs(
    network: IntegerNetwork,
    schedule: Schedule,
    workspace: Workspace,
    images: NDArray[np.int8],
    *,
    optimise: bool,
) -> dict[str, dict[str, Any]]:
    """Return what `_unskipped_run` does of each of `_UNSKIPPED`."""
    return {
        name: _unskipped_run(network, schedule, workspace, images, compile_as, optimise=optimise)
        for name, compile_as in _UNSKIPPED.items()
    }


def _content(
    workspace: Workspace,
    network: IntegerNetwork,
    schedule: Schedule,
    data: LabelledImages,
    found: Measurement,
    *,
    optimise: bool,
) -> dict[str, Any]:
    traces = network.run(data.images)
    count = len(data.images)
    layers = measure_layers(
        schedule,
        verilog_dir=workspace.rtl_folder,
        images=data.images[:_LAYERED],
        cache_dir=workspace.cache_folder,
        optimise=optimise,
    )
    wrong_products = [
        entry.name
        for entry in layers
        if round(entry.macs * len(data.images[:_LAYERED]))
        != int(traces[entry.name].macs_effective[:_LAYERED].sum())
    ]
    first = found.comparison.first
    return {
        "model": workspace.model_name,
        "dataset": data.dataset,
        "config": workspace.config_name,
        "config_parameters": schedule.config.as_dict(),
        "network_hash": network.content_hash,
        "images": count,
        "values_compared": found.comparison.values,
        "mismatches": found.mismatches + len(wrong_products),
        "layers_with_other_products": wrong_products,
        "mismatches_by_layer": dict(found.comparison.by_layer),
        "first_difference": None if first is None else str(first),
        "counter_differences": {
            counter.name: list(values) for counter, values in found.counter_differences.items()
        },
        "accuracy_int8": _accuracy(traces[network.layers[-1].name].tensor, data.labels),
        "accuracy_rtl": found.accuracy(data.labels),
        "cycles_total": found.cycles_total,
        "cycles_latency": found.cycles_latency,
        "cycles_cold": found.cycles_cold,
        "stream_bytes_per_image": schedule.stream_bytes_per_image,
        "counters": {counter.name: found.counters[counter] / count for counter in Counter},
        "simulated_cycles_per_second": found.cycles_per_second,
        "layers_measured": [asdict(entry) for entry in layers],
        "layers_reference": _reference_layers(network, traces),
    }


def simulate(workspace: Workspace, data: LabelledImages) -> Path:
    """Run images through the workspace's Verilog, compare everything, write what was measured.

    Parameters
    ----------
    workspace
        Holds schedule and Verilog.
    data
        Images and labels.

    Raises
    ------
    MismatchError
        If anything differs from the integer network; the file is written all the same.
    ArtefactError
        If schedule or Verilog are missing, damaged or belong to another model.
    """
    network = load_model(workspace)
    schedule = load_compiled(workspace, network)
    optimise = worth_optimising(network, schedule.config, len(data.images))
    verilog_dir = find_verilog(workspace)
    # Most of it is to generate and to build a second accelerator, beside the first one's build.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as beside:
        running = beside.submit(
            _unskipped_runs, network, schedule, workspace, data.images[:_DENSE], optimise=optimise
        )
        found = measure(
            verilog_dir,
            network=network,
            schedule=schedule,
            images=data.images,
            cache_dir=workspace.cache_folder,
            latency_images=_ALONE,
            optimise=optimise,
        )
        unskipped = running.result()
    content = _content(workspace, network, schedule, data, found, optimise=optimise) | unskipped
    made = provenance(seed=network.metadata.get("seed"), data=data.dataset)
    path = workspace.simulation_file
    write_json(path, kind=SIMULATION_KIND, content={**content, "provenance": made})
    wrong = [name for name in _UNSKIPPED if content[name]["mismatches"]]
    if content["mismatches"] or wrong:
        reasons = [str(found.comparison)] if found.comparison.mismatches else []
        reasons += [f"counters {content['counter_differences']}"] * bool(found.counter_differences)
        reasons += [f"products of {name}" for name in content["layers_with_other_products"]]
        reasons += [f"{name}: {content[name]['outcome']}" for name in wrong]
        raise MismatchError(
            f"{workspace.model_name} on {workspace.config_name}: {'; '.join(reasons)}"
        )
    return path
