"""Where a data set's files come from, and the proof that they are the right ones."""

import gzip
import hashlib
import lzma
import tarfile
from dataclasses import dataclass
from pathlib import Path
from zlib import error as ZlibError

import pooch

from jpnet_spec.artefact import atomic_path
from jpnet_sw.data.dataset import DataError

__all__ = ["DataFile", "FileSource"]

_OPENERS = {"": None, ".gz": gzip.decompress, ".xz": lzma.decompress}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """One uncompressed file of a data set.

    Parameters
    ----------
    name
        File name without a compression suffix.
    size_bytes
        Size, uncompressed.
    checksum
        ``"md5:..."`` or ``"sha256:..."`` of the uncompressed bytes.

    Raises
    ------
    ValueError
        If the checksum's algorithm is unknown.
    """

    name: str
    size_bytes: int
    checksum: str

    def __post_init__(self) -> None:
        if self.checksum.partition(":")[0] not in ("md5", "sha256"):
            raise ValueError(
                f"DataFile.checksum must start with 'md5:' or 'sha256:', not {self.checksum!r}"
            )

    def check(self, data: bytes, path: Path) -> None:
        """Refuse bytes that are not this file's.

        Raises
        ------
        DataError
            If the size or the checksum differs.
        """
        if len(data) != self.size_bytes:
            raise DataError(
                f"{path}: truncated or of another kind, expected {self.size_bytes} bytes, "
                f"found {len(data)}"
            )
        algorithm = self.checksum.partition(":")[0]
        found = f"{algorithm}:{hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()}"
        if found != self.checksum:
            raise DataError(f"{path}: altered, expected {self.checksum}, found {found}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSource:
    """The files of a data set, in the user's folder or downloaded.

    Parameters
    ----------
    folder
        Sub-folder of the data root.
    files
        Everything that is needed.
    urls
        URL to checksum of what is downloaded when there is no data root: one compressed file per
        data file, or one tar archive of them all.
    """

    folder: str
    files: tuple[DataFile, ...]
    urls: tuple[tuple[str, str], ...]

    def read(self, data_root: Path | None) -> dict[str, bytes]:
        """Return every file's checked, uncompressed bytes by name.

        Parameters
        ----------
        data_root
            The user's folder; None downloads to a cache.

        Raises
        ------
        DataError
            If a file is missing, truncated or altered, or cannot be downloaded.
        """
        base = self._download() if data_root is None else data_root / self.folder
        return {file.name: self._read_file(base, file) for file in self.files}

    def _hint(self) -> str:
        names = ", ".join(file.name for file in self.files)
        return f"put {names} (plain, .gz or .xz) into <folder>/{self.folder}/ and name <folder> "

    def _read_file(self, base: Path, file: DataFile) -> bytes:
        for suffix, decompress in _OPENERS.items():
            path = base / f"{file.name}{suffix}"
            if not path.is_file():
                continue
            try:
                raw = path.read_bytes()
                data = raw if decompress is None else decompress(raw)
            except (OSError, EOFError, lzma.LZMAError, ZlibError) as error:
                raise DataError(
                    f"{path}: truncated or damaged, expected {file.size_bytes} bytes, found {error}"
                ) from error
            file.check(data, path)
            return data
        raise DataError(
            f"{base / file.name}: missing, expected {file.size_bytes} bytes, found no such file; "
            f"{self._hint()}with --data-root or JPNET_DATA"
        )

    def _download(self) -> Path:
        cache = Path(pooch.os_cache("jpnet")) / self.folder
        for url, checksum in self.urls:
            try:
                fetched = Path(
                    pooch.retrieve(
                        url, known_hash=checksum, fname=url.rpartition("/")[2], path=cache
                    )
                )
                if fetched.name.endswith(".tar.gz"):
                    self._unpack(fetched, cache)
            except (OSError, ValueError, tarfile.TarError) as error:
                reason = " ".join(str(error).split())[:200]
                raise DataError(
                    f"{url}: expected a download with {checksum}, found {reason}; "
                    f"{self._hint()}with --data-root or JPNET_DATA"
                ) from error
        return cache

    def _unpack(self, archive: Path, cache: Path) -> None:
        wanted = {file.name for file in self.files}
        if all((cache / name).is_file() for name in wanted):
            return
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                content = tar.extractfile(member) if member.isfile() else None
                if name in wanted and content is not None:
                    with atomic_path(cache / name) as temporary:
                        temporary.write_bytes(content.read())
