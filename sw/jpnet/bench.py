"""Measurements that the documentation quotes: the zoo on every preset, speed of the tools."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console

from jpnet.compilation import compile_model
from jpnet.emission import emit_verilog
from jpnet.images import load_test_images
from jpnet.json_file import write_json
from jpnet.provenance import provenance
from jpnet.report import REPORT_KIND, write_report
from jpnet.report_tables import print_report
from jpnet.simulation import simulate
from jpnet.workspace import Workspace, load_config
from jpnet.zoo import load_model

__all__ = ["SPEED_KIND", "run_bench"]

SPEED_KIND = "speed"
"""Kind of the file with the tools' speeds."""

_RUNS: tuple[tuple[str, str, int | None], ...] = (
    ("mlp3", "edge16", None),
    ("mlp3", "tiny", 500),
    ("mlp3", "edge64", 500),
    ("lenet4", "edge16", None),
    ("lenet4", "edge64", 500),
)
"""Model, preset and how many test images are simulated; None for all."""

_SPEED_MODEL, _SPEED_DATA = "mlp3", "mnist"


def _bench_run(workspace: Workspace, count: int | None, data_root: Path | None) -> dict[str, Any]:
    compile_model(workspace, data_root=data_root)
    emit_verilog(load_config(workspace.config), workspace.rtl_folder)
    simulate(workspace, load_test_images(load_model(workspace), data_root=data_root, count=count))
    return write_report(workspace)


def _bench_speed(build: Path, data_root: Path | None) -> dict[str, Any]:
    network = load_model(Workspace(build=build, model=_SPEED_MODEL, config="edge16"))
    images = load_test_images(network, data_root=data_root).images
    start = time.perf_counter()
    network.run(images)
    seconds = time.perf_counter() - start
    return {
        "integer_network_images_per_second": len(images) / seconds,
        "provenance": provenance(seed=None, data=_SPEED_DATA),
    }


def run_bench(build: Path, *, results: Path, data_root: Path | None, console: Console) -> Path:
    """Measure and write one JSON file for each model and preset, and one for speeds.

    Parameters
    ----------
    build
        Folder of everything that is made.
    results
        Folder for the files.
    data_root
        Folder of the data sets.
    console
        Where the reports are printed.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    MismatchError
        If the Verilog computes anything else than the integer network.
    """
    for model, config, count in _RUNS:
        workspace = Workspace(build=build, model=model, config=config)
        report = _bench_run(workspace, count, data_root)
        print_report(report, console)
        write_json(results / f"{model}-{config}.json", kind=REPORT_KIND, content=report)
    speed = _bench_speed(build, data_root)
    write_json(results / "speed.json", kind=SPEED_KIND, content=speed)
    return results
