"""Runs of Yosys and nextpnr, with their progress."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

__all__ = ["SynthesisError", "run_tool"]

_PROGRESS = (
    r"\d+\.\d+\. Executing|Info: +(Packing|Placed|Routing|Max frequency|iter=|at iteration #)"
    r"|Info: +\d*0000 \|"
)
"""Lines that tell how far a tool is; of router1's, one of ten."""


class SynthesisError(RuntimeError):
    """A design that Yosys or nextpnr refuses, or that does not fit the device."""


def run_tool(command: list[str], *, folder: Path, what: str, say: Callable[[str], None]) -> str:
    """Run a tool, passing on the lines that tell how far it is; return all it wrote.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        Where it runs.
    what
        Its name, for messages.
    say
        Takes lines of progress.

    Raises
    ------
    SynthesisError
        If it fails; with the last lines it wrote.
    """
    lines = []
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if re.match(_PROGRESS, line):
                say(f"{what}: {line.strip().removeprefix('Info: ')}")
    text = "".join(lines)
    if process.returncode != 0:
        tail = "".join(lines[-20:])
        raise SynthesisError(f"{what} failed with exit code {process.returncode}:\n{tail}")
    return text
