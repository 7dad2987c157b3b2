"""Cycles of a compiled network, predicted without a simulation."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from jpnet.compilation import load_compiled
from jpnet.images import LabelledImages
from jpnet.json_file import write_json
from jpnet.layer_cycles import layer_cycles
from jpnet.provenance import provenance
from jpnet.workspace import Workspace
from jpnet.zoo import load_model
from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_spec.network import LayerTrace
from jpnet_spec.schedule import Schedule

__all__ = ["ESTIMATE_KIND", "estimate", "estimate_model", "print_estimate"]

ESTIMATE_KIND = "estimate"
"""Kind of the file that `estimate_model` writes."""


def estimate(
    schedule: Schedule,
    traces: Mapping[str, LayerTrace],
    images: NDArray[np.int8],
    *,
    latency_images: int,
) -> dict[str, Any]:
    """Return what a stream of images, and some images one at a time, will take.

    Parameters
    ----------
    schedule
        What runs.
    traces
        `jpnet_spec.network.IntegerNetwork.run` on the images.
    images : int8, shape (images, *input_shape)
    latency_images
        How many of the images also run alone.

    Returns
    -------
    dict
        Named as in `jpnet report`, numbers per image; ``cycles_per_second`` is the speed of the
        run of all images.
    """
    alone = range(min(latency_images, len(images)))

    def counters_of(part: Schedule) -> dict[Counter, float]:
        model = CycleModel(part, traces, images)
        runs = [model.run(image, 1).counters for image in alone]
        return {counter: sum(run[counter] for run in runs) / len(runs) for counter in runs[0]}

    model = CycleModel(schedule, traces, images)
    layers = layer_cycles(schedule, counters_of)
    start = time.perf_counter()
    together = model.run().counters
    seconds = time.perf_counter() - start
    return {
        "images": len(images),
        "cycles_total": together[Counter.CYCLES] / len(images),
        "cycles_latency": sum(layer.cycles for layer in layers),
        "cycles_bound": together[Counter.MACS] / schedule.config.mac_units / len(images),
        "fraction_of_bound": together[Counter.MACS]
        / (schedule.config.mac_units * together[Counter.CYCLES]),
        "stalls": {item.name: together[item] / len(images) for item in STALL_COUNTERS},
        "layers": [asdict(layer) for layer in layers],
        "cycles_per_second": together[Counter.CYCLES] / seconds,
    }


def estimate_model(
    workspace: Workspace, data: LabelledImages, *, latency_images: int = 20
) -> tuple[dict[str, Any], Path]:
    """Predict the cycles of the workspace's schedule and write them.

    Parameters
    ----------
    workspace
        Holds the schedule; Verilog is not needed.
    data
        Images.
    latency_images
        How many of them also run alone.

    Raises
    ------
    ValueError
        If the schedule is missing, damaged or belongs to another model.
    """
    network = load_model(workspace)
    schedule = load_compiled(workspace, network)
    found = estimate(schedule, network.run(data.images), data.images, latency_images=latency_images)
    content = {
        "model": workspace.model_name,
        "dataset": data.dataset,
        "config": workspace.config_name,
        **found,
        "provenance": provenance(seed=network.metadata.get("seed"), data=data.dataset),
    }
    path = workspace.estimate_file
    write_json(path, kind=ESTIMATE_KIND, content=content)
    return content, path


def print_estimate(content: Mapping[str, Any], console: Console) -> None:
    """Print what was predicted."""
    title = f"{content['model']} on {content['config']}, {content['images']} images, predicted"
    table = Table(title=title)
    table.add_column("layer")
    for column in ("cycles", "MACs", *(item.name[5:].lower() for item in STALL_COUNTERS)):
        table.add_column(column, justify="right")
    for layer in content["layers"]:
        stalls = (f"{layer['stalls'][item.name]:,.0f}" for item in STALL_COUNTERS)
        table.add_row(layer["name"], f"{layer['cycles']:,.0f}", f"{layer['macs']:,.0f}", *stalls)
    stalls = (f"{content['stalls'][item.name]:,.0f}" for item in STALL_COUNTERS)
    table.add_row("back to back", f"{content['cycles_total']:,.1f}", "", *stalls)
    console.print(table)
    console.print(
        f"{content['cycles_total']:,.1f} cycles an image back to back, "
        f"{100 * content['fraction_of_bound']:.0f} % of the bound; "
        f"{content['cycles_latency']:,.0f} cycles one image alone"
    )
