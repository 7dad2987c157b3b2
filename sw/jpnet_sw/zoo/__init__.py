"""Trained networks that come with the package."""

from pathlib import Path

__all__ = ["zoo_names", "zoo_path"]

_FOLDER = Path(__file__).parent


def zoo_names() -> tuple[str, ...]:
    """Return the names of the networks, sorted."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/model.safetensors")))


def zoo_path(name: str) -> Path:
    """Return a network's ``model.safetensors``; ``card.md`` and ``results.json`` lie beside it.

    Raises
    ------
    ValueError
        If there is no such network.
    """
    if name not in zoo_names():
        raise ValueError(f"zoo network must be one of {', '.join(zoo_names())}, not {name!r}")
    return _FOLDER / name / "model.safetensors"
