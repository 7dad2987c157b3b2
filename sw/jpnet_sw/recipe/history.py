"""``history.json``: what happened in each epoch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jpnet_spec.artefact import atomic_path
from jpnet_sw.recipe.state import TrainingState

__all__ = ["HISTORY_FILE", "write_history"]

HISTORY_FILE = "history.json"
"""One entry per epoch, and the winner-rate scan."""

_FORMAT_VERSION = 1


def write_history(
    path: Path, state: TrainingState, *, result: Mapping[str, Any] | None = None
) -> None:
    """Write the epochs, the winner-rate scan and the accuracies, whole or not at all."""
    content = {
        "format_version": _FORMAT_VERSION,
        "recipe": state.recipe.name,
        "seed": state.seed,
        "winner_rates": state.rates,
        **state.facts,
        "epochs": state.history,
    }
    if result is not None:
        content["result"] = dict(result)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
