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

_MODEL, _DATA = "mlp3", "mnist"

_IMAGES: dict[str, int | None] = {"edge16": None, "tiny": 500, "edge64": 500}
"""Test images to simulate on each preset; None for all."""


def _bench_preset(config: str, *, build: Path, data_root: Path | None) -> dict[str, Any]:
    workspace = Workspace(build=build, model=_MODEL, config=config)
    compile_model(workspace, data_root=data_root)
    emit_verilog(load_config(config), workspace.rtl_folder)
    data = load_test_images(load_model(workspace), data_root=data_root, count=_IMAGES[config])
    simulate(workspace, data)
    return write_report(workspace)


def _bench_speed(build: Path, data_root: Path | None) -> dict[str, Any]:
    network = load_model(Workspace(build=build, model=_MODEL, config="edge16"))
    images = load_test_images(network, data_root=data_root).images
    start = time.perf_counter()
    network.run(images)
    seconds = time.perf_counter() - start
    return {
        "integer_network_images_per_second": len(images) / seconds,
        "provenance": provenance(seed=None, data=_DATA),
    }


def run_bench(build: Path, *, results: Path, data_root: Path | None, console: Console) -> Path:
    """Measure and write one JSON file a preset and one for speeds.

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
    for config in _IMAGES:
        report = _bench_preset(config, build=build, data_root=data_root)
        print_report(report, console)
        write_json(results / f"{_MODEL}-{config}.json", kind=REPORT_KIND, content=report)
    speed = _bench_speed(build, data_root)
    write_json(results / "speed.json", kind=SPEED_KIND, content=speed)
    return results
