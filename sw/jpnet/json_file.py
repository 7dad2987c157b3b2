"""JSON files with a kind and a format version, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jpnet_spec.artefact import ArtefactError, atomic_path

__all__ = ["FORMAT_VERSION", "read_json", "write_json"]

FORMAT_VERSION = 1
"""Version of all JSON files; a reader refuses all others."""


def write_json(path: Path, *, kind: str, content: Mapping[str, Any]) -> None:
    """Write an object with its kind and format version."""
    body = {"kind": kind, "format_version": FORMAT_VERSION, **content}
    text = json.dumps(body, indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def read_json(path: Path, *, kind: str, made_by: str) -> dict[str, Any]:
    """Read an object of a kind.

    Parameters
    ----------
    path
        The file.
    kind
        What it must be.
    made_by
        The command that makes it, for the message when it is missing.

    Raises
    ------
    ArtefactError
        If the file is missing, not JSON, or of another kind or format version.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: missing, `{made_by}` makes it") from error
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ArtefactError(f"{path}: damaged, not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise ArtefactError(f"{path}: expected a jpnet {kind} file, found something else")
    if content.get("format_version") != FORMAT_VERSION:
        raise ArtefactError(
            f"{path}: expected format version {FORMAT_VERSION}, "
            f"found {content.get('format_version')!r}"
        )
    return content
