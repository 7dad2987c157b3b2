"""Files of studies."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from jpnet.json_file import read_json, write_json
from jpnet_spec.artefact import ArtefactError

__all__ = ["Study", "read_study", "write_study"]

_KIND = "study"


class Study(StrEnum):
    """What can be studied."""

    SENSITIVITY = "sensitivity"
    """Accuracy against the winner rate of one group of layers at a time."""
    THRESHOLDS = "thresholds"
    """Thresholds of each image against constant ones."""
    SAMPLING = "sampling"
    """Thresholds that a part of the tensor tells."""
    HISTOGRAMS = "histograms"
    """Activations before and after pruning and filters."""
    DENSITIES = "densities"
    """Activation densities of the dense, the weight-pruned and the joint network."""
    TRADEOFF = "tradeoff"
    """Accuracy against effective MACs."""


def write_study(path: Path, study: Study, content: Mapping[str, Any]) -> None:
    """Write what a study found, whole or not at all."""
    write_json(path, kind=_KIND, content={"study": study.value, **content})


def read_study(path: Path) -> dict[str, Any]:
    """Return what a study found.

    Raises
    ------
    ArtefactError
        If the file is missing, damaged or of no known study.
    """
    content = read_json(path, kind=_KIND, made_by="jpnet study")
    known = [study.value for study in Study]
    if content.get("study") not in known:
        raise ArtefactError(
            f"{path}: study must be one of {', '.join(known)}, not {content.get('study')!r}"
        )
    return content
