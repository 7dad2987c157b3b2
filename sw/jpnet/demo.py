"""Everything once, on a data set that needs no download."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from jpnet.compilation import compile_model
from jpnet.emission import emit_verilog
from jpnet.images import load_test_images
from jpnet.report import write_report
from jpnet.report_figures import write_figures
from jpnet.report_tables import print_report
from jpnet.simulation import simulate
from jpnet.training import run_name, train_model
from jpnet.workspace import Workspace, load_config
from jpnet.zoo import load_model

__all__ = ["run_demo"]

_MODEL, _DATA = "mlp3", "digits"

_Result = TypeVar("_Result")


def run_demo(config: str, *, seed: int, build: Path, console: Console) -> None:
    """Train, compile, generate, simulate, report; end with what was proved.

    Parameters
    ----------
    config
        A preset or a JSON file of parameters.
    seed
        Of the training.
    build
        Folder of everything that is made.
    console
        Where to print.

    Raises
    ------
    MismatchError
        If the Verilog computes anything else than the integer network.
    """
    accelerator = load_config(config)
    workspace = Workspace(build=build, model=run_name(_MODEL, _DATA), config=config)

    def step(title: str, work: Callable[[], _Result]) -> _Result:
        console.rule(title, align="left")
        start = time.monotonic()
        result = work()
        console.print(f"done in {time.monotonic() - start:.1f} s")
        return result

    # The accelerator does not depend on the network, so another core generates it meanwhile.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as beside:
        emission = beside.submit(emit_verilog, accelerator, workspace.rtl_folder)
        step(
            "1. Train a network until its weights and activations are sparse",
            lambda: train_model(_MODEL, data=_DATA, seed=seed, build=build),
        )
        step(
            f"2. Compile it for {workspace.config_name}, {accelerator.mac_units} MAC units",
            lambda: compile_model(workspace, data_root=None),
        )
        step("3. Generate the accelerator as Verilog, begun with the training", emission.result)
    data = load_test_images(load_model(workspace), data_root=None)
    step(
        f"4. Run all {len(data.images)} test images through the Verilog",
        lambda: simulate(workspace, data),
    )
    console.rule("5. What it costs and gains", align="left")
    report = write_report(workspace)
    write_figures(report, workspace.folder)
    print_report(report, console)
    speedup = report["speedup_over_dense"]
    gain = "" if speedup is None else f", {speedup:.1f} times fewer than with nothing skipped"
    console.print(
        f"Proved: the generated Verilog of {workspace.config_name}, simulated, computed every "
        f"value of every layer of {report['images']:,} real images exactly as the trained "
        f"integer network does: {report['values_compared']:,} values, "
        f"{report['mismatches']:,} differ. It recognises "
        f"{100 * report['accuracy_rtl']:.2f} % of the images in {report['cycles_total']:,.0f} "
        f"cycles each{gain}.",
        soft_wrap=False,
    )
    console.print(f"Everything is in {workspace.folder}, the report in {workspace.report_file}.")
