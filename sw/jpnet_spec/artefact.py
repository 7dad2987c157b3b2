"""Files on disk: safetensors with one JSON header entry, hashed and written whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

__all__ = ["FORMAT_VERSION", "ArtefactError", "atomic_path", "read_artefact", "write_artefact"]

FORMAT_VERSION = 1
"""Version of every artefact's header; a reader refuses all others."""

_HEADER_KEY = "jpnet"


class ArtefactError(ValueError):
    """A file that is missing, damaged, altered or of another kind or version."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block succeeds.

    When the block fails, or the process dies in it, the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _content_hash(header: Mapping[str, Any], tensors: Mapping[str, NDArray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}:{tensor.dtype.str}:{tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def write_artefact(
    path: Path, *, kind: str, header: Mapping[str, Any], tensors: Mapping[str, NDArray]
) -> str:
    """Write an artefact and return its content hash (SHA-256, hexadecimal).

    Parameters
    ----------
    path
        Replaced only when everything was written.
    kind
        What the file is, such as ``"model"``; checked when it is read.
    header
        JSON-serialisable; the same header and tensors give the same bytes.
    tensors : arrays of any integer or float dtype
    """
    body = {**header, "kind": kind, "format_version": FORMAT_VERSION}
    content_hash = _content_hash(body, tensors)
    entry = json.dumps({**body, "content_hash": content_hash}, sort_keys=True)
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(ordered, metadata={_HEADER_KEY: entry}))
    return content_hash


def _header_entry(path: Path, data: bytes, kind: str) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    try:
        entry = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_HEADER_KEY])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            f"{path}: expected a jpnet {kind} file, found no jpnet header"
        ) from error
    if not isinstance(entry, dict):
        raise ArtefactError(f"{path}: expected a jpnet {kind} file, found a malformed header")
    return entry


def read_artefact(path: Path, *, kind: str) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Read an artefact's header and tensors.

    Raises
    ------
    ArtefactError
        If the file is missing, truncated, altered, or of another kind or format version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ArtefactError(f"{path}: truncated or not a safetensors file ({error})") from error
    header = _header_entry(path, data, kind)
    if header.get("kind") != kind:
        raise ArtefactError(f"{path}: expected kind {kind!r}, found {header.get('kind')!r}")
    if header.get("format_version") != FORMAT_VERSION:
        raise ArtefactError(
            f"{path}: expected format version {FORMAT_VERSION}, "
            f"found {header.get('format_version')!r}"
        )
    expected = header.pop("content_hash", None)
    found = _content_hash(header, tensors)
    if found != expected:
        raise ArtefactError(f"{path}: altered, expected content hash {expected}, found {found}")
    return {**header, "content_hash": found}, tensors
