"""The generated Verilog in a folder: written, and checked before it is used."""

import hashlib
import json
from pathlib import Path

from jpnet.tool_error import ToolError
from jpnet.workspace import VERILOG_TOP, Workspace, load_config
from jpnet_spec.artefact import ArtefactError
from jpnet_spec.config import AcceleratorConfig

__all__ = ["emit_verilog", "find_verilog", "is_verilog_of"]


def emit_verilog(config: AcceleratorConfig, folder: Path) -> Path:
    """Write Verilog, manifest and register map into a folder and return the top module's file.

    Raises
    ------
    ToolError
        If Yosys fails.
    """
    from jpnet_hw.verilog import EmissionError, emit

    try:
        return emit(config, folder)
    except EmissionError as error:
        raise ToolError(str(error)) from error


def is_verilog_of(config: AcceleratorConfig, folder: Path) -> bool:
    """Return whether a folder holds a configuration's Verilog as it was generated."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        digest = hashlib.sha256((folder / VERILOG_TOP).read_bytes()).hexdigest()
        expected = (f"0x{config.config_hash:08x}", manifest["sha256"][VERILOG_TOP])
        return (manifest["config_hash"], digest) == expected
    except (OSError, ValueError, KeyError, TypeError):
        return False


def find_verilog(workspace: Workspace) -> Path:
    """Return the workspace's folder of Verilog.

    Raises
    ------
    ArtefactError
        If the Verilog is missing, altered or of another configuration; the message names the
        command that makes it.
    """
    folder = workspace.rtl_folder
    remedy = f"`jpnet rtl --model {workspace.model_name} --config {workspace.config}` makes it"
    path = folder / VERILOG_TOP
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        text = path.read_bytes()
        config_hash, sha256 = manifest["config_hash"], manifest["sha256"][VERILOG_TOP]
    except OSError as error:
        raise ArtefactError(f"{path}: missing or not readable, {remedy}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{folder}/manifest.json: damaged, {remedy} anew") from error
    if config_hash != f"0x{load_config(workspace.config).config_hash:08x}":
        raise ArtefactError(f"{path}: made for another configuration, {remedy} anew")
    if hashlib.sha256(text).hexdigest() != sha256:
        raise ArtefactError(f"{path}: altered since it was generated, {remedy} anew")
    return folder
