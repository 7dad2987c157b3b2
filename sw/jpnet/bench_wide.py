"""The paper's ResNet-32, ten times as wide, on the Verilog: `python -m jpnet.bench_wide`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jpnet.emission import emit_verilog, is_verilog_of
from jpnet.json_file import write_json
from jpnet.provenance import provenance
from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.map_samples import random_maps
from jpnet_cosim.residual_samples import ResidualShape, residual_network
from jpnet_cosim.runner import run_native
from jpnet_cosim.scoreboard import compare, compare_counters
from jpnet_spec.configs import PRESETS
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_sw.compiler import compile_network

__all__ = ["WIDE_CONFIG", "WIDE_KIND", "WIDE_NETWORK", "main"]

WIDE_KIND = "wide-network"
"""Kind of the file with the results."""

WIDE_NETWORK = ResidualShape(
    size=32,
    stages=(160, 320, 640),
    blocks=5,
    pre_activation=True,
    weight_density=0.324,
    winner_rate=0.308,
)
"""IPnet, table 5, with random masks of the paper's densities."""

WIDE_CONFIG = replace(
    PRESETS["edge64"],
    weight_depth=32768,
    pointer_depth=16384,
    acc_depth=2048,
    acc_width=26,
    act_depth=2048,
    param_depth=8192,
    program_depth=1024,
)
"""`edge64` with memories for it."""

_SEED = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate one image, compare every value and write the results."""
    parser = argparse.ArgumentParser(prog="python -m jpnet.bench_wide", description=__doc__)
    parser.add_argument("results", type=Path, help="file of the results")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of simulators")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(_SEED)
    network = residual_network(rng, WIDE_NETWORK)
    images = random_maps(rng, 1, network.input_shape)
    verilog = options.build / "wide" / "rtl"
    if not is_verilog_of(WIDE_CONFIG, verilog):
        emit_verilog(WIDE_CONFIG, verilog)
    schedule = compile_network(network, WIDE_CONFIG)
    found = run_native(verilog, schedule=schedule, images=images, cache_dir=options.build / "cache")
    traces = network.run(images)
    comparison = compare(schedule, traces, found)
    differing = compare_counters(network, schedule, traces, found, images)
    if comparison.mismatches or differing:
        raise ValueError(f"{network.name}: {comparison}, {differing}")
    macs = sum(int(trace.macs_effective.sum()) for trace in traces.values())
    cycles, units = found.counters[Counter.CYCLES], WIDE_CONFIG.mac_units
    predicted = CycleModel(schedule, traces, images).run().counters[Counter.CYCLES]
    content = {
        "config": WIDE_CONFIG.as_dict(),
        "mac_units": units,
        "images": len(images),
        "values_compared": comparison.values,
        "mismatches": 0,
        "macs_dense": network.macs_dense,
        "macs_effective": macs,
        "stream_bytes": schedule.stream_bytes,
        "cycles": cycles,
        "cycles_predicted": predicted,
        "cycles_bound": macs / units,
        "fraction_of_bound": macs / units / cycles,
        "stalls": {item.name: found.counters[item] / units for item in STALL_COUNTERS},
        "simulation_seconds": round(found.seconds, 1),
        "provenance": provenance(seed=_SEED, data=None),
    }
    write_json(options.results, kind=WIDE_KIND, content=content)
    sys.stdout.write(
        f"{comparison.values:,} values, 0 differ; {cycles:,} cycles, simulated in "
        f"{found.seconds:.0f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
