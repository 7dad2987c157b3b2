"""The Verilog that a simulation runs, emitted again only when it is not there."""

from pathlib import Path

from jpnet.workspace import VERILOG_TOP
from jpnet_spec.artefact import ArtefactError
from jpnet_spec.config import AcceleratorConfig

__all__ = ["emit_verilog", "find_verilog"]


def emit_verilog(config: AcceleratorConfig, folder: Path) -> Path:
    """Write Verilog, manifest and register map into a folder and return the top module's file."""
    from jpnet_hw.verilog import emit

    emit(config, folder)
    return folder / VERILOG_TOP


def find_verilog(folder: Path) -> Path:
    """Return a folder that holds the Verilog.

    Raises
    ------
    ArtefactError
        If it does not; the message names the command that makes it.
    """
    if not (folder / VERILOG_TOP).is_file():
        raise ArtefactError(f"{folder / VERILOG_TOP}: missing, `jpnet rtl` makes it")
    return folder
