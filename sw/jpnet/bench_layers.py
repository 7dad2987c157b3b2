"""Measures the reference layers on the generated Verilog: `python -m jpnet.bench_layers`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jpnet.emission import emit_verilog, is_verilog_of
from jpnet.json_file import write_json
from jpnet.provenance import provenance
from jpnet.reference_layers import (
    MULTIPLIERS,
    REFERENCE_LAYERS,
    ReferenceLayer,
    reference_config,
    reference_images,
)
from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.measure import measure
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_sw.compiler import compile_network

__all__ = ["LAYERS_KIND", "main", "measure_layer"]

LAYERS_KIND = "reference-layers"
"""Kind of the file with the results."""

_IMAGES, _CALIBRATION, _ALONE, _SEED = 32, 16, 4, 0


def measure_layer(
    layer: ReferenceLayer, multipliers: int, *, verilog: Path, cache: Path, images: int = _IMAGES
) -> dict[str, Any]:
    """Return what a layer takes on the Verilog with so many multipliers.

    Parameters
    ----------
    layer, multipliers
        What runs.
    verilog, cache
        Folders of the Verilog of `reference_config` and of simulators.
    images
        Inputs, back to back.

    Raises
    ------
    ValueError
        If a value differs from the integer network.
    """
    rng = np.random.default_rng(_SEED)
    network, config = layer.network(rng), reference_config(multipliers)
    inputs = reference_images(rng, layer, images)
    calibration = reference_images(rng, layer, _CALIBRATION)
    schedule = compile_network(network, config, calibration)
    found = measure(
        verilog,
        network=network,
        schedule=schedule,
        images=inputs,
        cache_dir=cache,
        latency_images=_ALONE,
    )
    if found.mismatches:
        raise ValueError(f"{layer.name}: {found.comparison}, {found.counter_differences}")
    traces = network.run(inputs)
    bound = float(traces["conv"].macs_effective.mean()) / multipliers
    predicted = CycleModel(schedule, traces, inputs).run().counters[Counter.CYCLES] / images
    return {
        "layer": layer.name,
        "mac_units": multipliers,
        "images": images,
        "values_compared": found.comparison.values,
        "cycles": found.cycles_total,
        "cycles_alone": found.cycles_latency,
        "cycles_predicted": predicted,
        "cycles_bound": bound,
        "fraction_of_bound": bound / found.cycles_total,
        "stalls": {
            item.name: found.counters[item] / images / multipliers for item in STALL_COUNTERS
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all layers with all numbers of multipliers and write the results."""
    parser = argparse.ArgumentParser(prog="python -m jpnet.bench_layers", description=__doc__)
    parser.add_argument("results", type=Path, help="file of the results")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of simulators")
    parser.add_argument(
        "--mac-units",
        type=int,
        nargs="+",
        choices=MULTIPLIERS,
        default=MULTIPLIERS,
        help="multipliers of the accelerators; all",
    )
    options = parser.parse_args(arguments)
    measured = []
    for multipliers in options.mac_units:
        folder = options.build / "reference-layers" / str(multipliers)
        if not is_verilog_of(reference_config(multipliers), folder):
            emit_verilog(reference_config(multipliers), folder)
        for layer in REFERENCE_LAYERS:
            measured.append(
                measure_layer(layer, multipliers, verilog=folder, cache=options.build / "cache")
            )
            last = measured[-1]
            sys.stdout.write(
                f"{multipliers} MACs, {layer.name}: {last['cycles']:,.0f} cycles, "
                f"{last['fraction_of_bound']:.3f} of the bound\n"
            )
            sys.stdout.flush()
        content = {"layers": measured, "provenance": provenance(seed=_SEED, data=None)}
        write_json(options.results, kind=LAYERS_KIND, content=content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
