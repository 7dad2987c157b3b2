"""Named accelerator configurations."""

from dataclasses import replace

from jpnet_spec.config import AcceleratorConfig

__all__ = ["PRESETS", "preset"]

_EDGE16 = AcceleratorConfig()

PRESETS: dict[str, AcceleratorConfig] = {
    "tiny": AcceleratorConfig(
        lanes=2,
        groups=2,
        clusters=1,
        contexts=2,
        weight_depth=16384,
        pointer_depth=2048,
        program_depth=64,
    ),
    "edge16": _EDGE16,
    "edge64": replace(
        _EDGE16,
        groups=4,
        clusters=4,
        act_word=16,
        axi_data_width=128,
        act_depth=256,
    ),
}
"""Name to configuration: 4 MACs for unit tests, 16 (the default) and 64."""


def preset(name: str) -> AcceleratorConfig:
    """Return a named configuration.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in PRESETS:
        raise ValueError(f"configuration must be one of {', '.join(PRESETS)}, not {name!r}")
    return PRESETS[name]
