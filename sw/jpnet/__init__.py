"""The front door: sparse networks, the accelerator that runs them, and the proof that it does.

The names below load their packages when they are first used.
"""

from importlib import import_module
from typing import Any

__all__ = [
    "PRESETS",
    "AcceleratorConfig",
    "IntegerNetwork",
    "Schedule",
    "Workspace",
    "adopt",
    "build_report",
    "compile_network",
    "emit",
    "load_dataset",
    "load_network",
    "load_schedule",
    "measure",
    "preset",
    "save_network",
    "save_schedule",
]

_HOMES = {
    "PRESETS": "jpnet_spec.configs",
    "AcceleratorConfig": "jpnet_spec.config",
    "IntegerNetwork": "jpnet_spec.network",
    "Schedule": "jpnet_spec.schedule",
    "Workspace": "jpnet.workspace",
    "adopt": "jpnet.adoption",
    "build_report": "jpnet.report",
    "compile_network": "jpnet_sw.compiler",
    "emit": "jpnet_hw.verilog",
    "load_dataset": "jpnet_sw.data",
    "load_network": "jpnet_spec.model_file",
    "load_schedule": "jpnet_spec.schedule",
    "measure": "jpnet_cosim.measure",
    "preset": "jpnet_spec.configs",
    "save_network": "jpnet_spec.model_file",
    "save_schedule": "jpnet_spec.schedule",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'jpnet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
