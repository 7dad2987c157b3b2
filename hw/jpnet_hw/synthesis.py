"""Synthesis, placement and routing for a Lattice ECP5, with the figures that come out."""

import hashlib
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jpnet_hw.netlist_cells import MEMORY_LUT4, count_parts, read_cells
from jpnet_hw.pin_wrapper import WRAPPER, wrapped_in_pins
from jpnet_hw.place_and_route import DEVICE, SEED, SPEED_GRADES, find_nextpnr, place_and_route
from jpnet_hw.synthesis_script import ADDERS_FILE, SHORT_ADDERS, synthesis_script
from jpnet_hw.tool_run import SynthesisError, run_tool
from jpnet_hw.verilog import TOP
from jpnet_spec.artefact import atomic_path
from jpnet_spec.config import AcceleratorConfig

__all__ = ["SynthesisError", "SynthesisReport", "synthesise"]

_REPORT_VERSION = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthesisReport:
    """Size and speed of an accelerator on an FPGA.

    Parameters
    ----------
    config_hash
        Of the accelerator.
    device
        Where it was placed.
    lut4
        Four-input look-up tables of logic and carry chains, distributed memory not included.
    comb
        Look-up tables in all: of the device's, those that logic, chains with their entries and
        exits and distributed memory take.
    flip_flops, dp16kd, mult18x18d
        Registers, 18 kbit block memories, multipliers.
    distributed_ram_lut4
        Look-up tables used as memory.
    parts
        The last three by the accelerator's part, see `jpnet_hw.netlist_cells.count_parts`.
    fmax_mhz
        Highest clock after routing, by the device's speed grade.
    target_mhz
        What placement and routing aimed at, at the slowest grade.
    critical_start, critical_end
        Registers or memories at the ends of the slowest path, at the slowest grade.
    seed
        Of placement.
    tools
        Name to version.
    """

    config_hash: int
    device: str
    lut4: int
    comb: int
    flip_flops: int
    dp16kd: int
    mult18x18d: int
    distributed_ram_lut4: int
    parts: dict[str, dict[str, int]]
    fmax_mhz: dict[str, float]
    target_mhz: float
    critical_start: str
    critical_end: str
    seed: int
    tools: dict[str, str]


def _netlist(verilog: Path, out_dir: Path, *, say: Callable[[str], None]) -> Path:
    """Map the Verilog to the device's cells, or find the netlist of the same Verilog."""
    sources = {
        "pins.v": wrapped_in_pins(verilog.read_text(encoding="utf-8")),
        ADDERS_FILE: SHORT_ADDERS,
        "synth.ys": synthesis_script(
            ["accelerator.v", "pins.v"], top=WRAPPER, netlist="netlist.json"
        ),
        "accelerator.v": verilog.read_text(encoding="utf-8"),
        "tool": version("pyosys"),
    }
    key = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
    kept = out_dir / f"netlist-{key[:16]}.json"
    if kept.exists():
        say(f"Yosys: the netlist of the same Verilog is there, {kept}")
        return kept
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, text in sources.items():
            (folder / name).write_text(text, encoding="utf-8")
        program = "from pyosys import libyosys; libyosys.run_pass('script synth.ys')"
        run_tool([sys.executable, "-c", program], folder=folder, what="Yosys", say=say)
        for old in out_dir.glob("netlist-*.json"):
            old.unlink()
        with atomic_path(kept) as path:
            shutil.copyfile(folder / "netlist.json", path)
    return kept


def _fmax(report: dict[str, Any]) -> float:
    return float(round(min(clock["achieved"] for clock in report["fmax"].values()), 2))


def _critical_ends(report: dict[str, Any]) -> tuple[str, str]:
    paths = [path for path in report["critical_paths"] if "async" not in path["from"]]
    paths = [path for path in paths if "async" not in path["to"]] or report["critical_paths"]
    longest = max(paths, key=lambda path: sum(step["delay"] for step in path["path"]))
    start, end = longest["path"][0]["from"], longest["path"][-1]["to"]
    return f"{start['cell']}.{start['port']}", f"{end['cell']}.{end['port']}"


def synthesise(
    config: AcceleratorConfig,
    verilog_dir: Path,
    out_dir: Path,
    *,
    target_mhz: float,
    say: Callable[[str], None] = print,
) -> SynthesisReport:
    """Synthesise, place and route; write `synthesis_report.json` and return its content.

    Netlist, placement and routing stay in `out_dir`: a run that was stopped goes on there.

    The accelerator has more ports than the device has pins, so a wrapper shifts inputs in and
    folds outputs together; its few hundred registers are included in the figures.

    Parameters
    ----------
    config
        The accelerator.
    verilog_dir
        Where `jpnet_hw.verilog.emit` wrote it.
    out_dir
        Created if it does not exist.
    target_mhz
        Clock that placement and routing aim at; missing it is no error.
    say
        Takes lines of progress.

    Raises
    ------
    SynthesisError
        If a tool fails, or the design does not fit the device.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    netlist = _netlist((verilog_dir / f"{TOP}.v").resolve(), out_dir, say=say)
    nextpnr = find_nextpnr()
    reports = place_and_route(
        netlist,
        out_dir,
        tool=nextpnr,
        clusters=config.clusters,
        target_mhz=target_mhz,
        say=say,
    )
    routed = reports[SPEED_GRADES[0]]
    cells = read_cells(netlist)
    counts = Counter(cells.values())
    used = {name: entry["used"] for name, entry in routed["utilization"].items()}
    start, end = _critical_ends(routed)
    report = SynthesisReport(
        config_hash=config.config_hash,
        device=DEVICE,
        lut4=counts["LUT4"] + 2 * counts["CCU2C"],
        comb=used["TRELLIS_COMB"],
        flip_flops=counts["TRELLIS_FF"],
        dp16kd=used["DP16KD"],
        mult18x18d=used["MULT18X18D"],
        distributed_ram_lut4=MEMORY_LUT4 * counts["TRELLIS_DPR16X4"],
        parts=count_parts(cells),
        fmax_mhz={f"grade {grade}": _fmax(report) for grade, report in reports.items()},
        target_mhz=target_mhz,
        critical_start=start,
        critical_end=end,
        seed=SEED,
        tools={"pyosys": version("pyosys"), "nextpnr-ecp5": nextpnr.version},
    )
    entry = {"report_version": _REPORT_VERSION, **asdict(report)}
    with atomic_path(out_dir / "synthesis_report.json") as temporary_path:
        temporary_path.write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")
    return report
