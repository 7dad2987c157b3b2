"""The registry: how each data set's files become arrays."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from jpnet_sw.data.dataset import DataError, Dataset, DatasetName
from jpnet_sw.data.source import DataFile, FileSource

__all__ = ["SOURCES", "dataset_names", "load_dataset"]

_CLASSES = 10
_CIFAR_SHAPE = (3, 32, 32)

_IDX_SIZES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}


def _idx_files(*sha256: str) -> tuple[DataFile, ...]:
    return tuple(
        DataFile(name=name, size_bytes=size, checksum=f"sha256:{digest}")
        for (name, size), digest in zip(_IDX_SIZES.items(), sha256, strict=True)
    )


def _idx_urls(base: str, *md5: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"{base}/{name}.gz", f"md5:{digest}") for name, digest in zip(_IDX_SIZES, md5, strict=True)
    )


def _cifar_files(**md5: str) -> tuple[DataFile, ...]:
    return tuple(
        DataFile(name=f"{name}.bin", size_bytes=30_730_000, checksum=f"md5:{digest}")
        for name, digest in md5.items()
    )


SOURCES: dict[DatasetName, FileSource] = {
    DatasetName.MNIST: FileSource(
        folder="mnist",
        files=_idx_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        urls=_idx_urls(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    DatasetName.FASHION_MNIST: FileSource(
        folder="fashion-mnist",
        files=_idx_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        urls=_idx_urls(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    DatasetName.CIFAR_10: FileSource(
        folder="cifar-10",
        files=_cifar_files(
            data_batch_1="5dd7e06a14cb22eb9f671a540d1b7c25",
            data_batch_2="5ea93a67294ea407fff1d09f752e9692",
            data_batch_3="942cd6a4bcdd0dd3c604fbe906cb4421",
            data_batch_4="ae636b3ba5c66a11e91e8cb52e771fcb",
            data_batch_5="53f37980c15c3d472c316c40844f3f0d",
            test_batch="803d5f7f4d78ea53de84dbe85f74fb6d",
        ),
        urls=(
            (
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "md5:c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
    ),
}
"""Files of the data sets that are not embedded."""


def _parse_idx(data: bytes, name: str, dimensions: int) -> NDArray[np.uint8]:
    header = np.frombuffer(data[: 4 * (dimensions + 1)], dtype=">u4")
    if header.size != dimensions + 1 or int(header[0]) != 0x800 + dimensions:
        raise DataError(f"{name}: expected an IDX file of {dimensions} dimensions, found another")
    shape = tuple(int(extent) for extent in header[1:])
    body = np.frombuffer(data, dtype=np.uint8, offset=header.nbytes)
    if body.size != int(np.prod(shape)):
        raise DataError(f"{name}: expected {int(np.prod(shape))} values, found {body.size}")
    return body.reshape(shape)


def _load_idx(name: DatasetName, data_root: Path | None) -> Dataset:
    data = SOURCES[name].read(data_root)
    train_images, train_labels, test_images, test_labels = (
        _parse_idx(data[file], file, 3 if "images" in file else 1) for file in _IDX_SIZES
    )
    return Dataset(
        name=name,
        train_images=train_images[:, None],  # (n, 1, h, w)
        train_labels=train_labels,
        test_images=test_images[:, None],
        test_labels=test_labels,
    )


def _load_cifar(name: DatasetName, data_root: Path | None) -> Dataset:
    data = SOURCES[name].read(data_root)
    rows = {
        file: np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + int(np.prod(_CIFAR_SHAPE)))
        for file, content in data.items()
    }
    train = np.concatenate([part for file, part in rows.items() if file != "test_batch.bin"])
    test = rows["test_batch.bin"]
    return Dataset(
        name=name,
        train_images=train[:, 1:].reshape(-1, *_CIFAR_SHAPE),
        train_labels=train[:, 0].copy(),
        test_images=test[:, 1:].reshape(-1, *_CIFAR_SHAPE),
        test_labels=test[:, 0].copy(),
    )


def _load_digits(name: DatasetName, data_root: Path | None) -> Dataset:
    del data_root  # embedded
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # (n, 1, h, w)
    labels = bunch.target.astype(np.uint8)
    # There is no official split: every fifth image is a test image.
    test = np.arange(len(images)) % 5 == 4
    return Dataset(
        name=name,
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
    )


_LOADERS: dict[DatasetName, Callable[[DatasetName, Path | None], Dataset]] = {
    DatasetName.DIGITS: _load_digits,
    DatasetName.MNIST: _load_idx,
    DatasetName.FASHION_MNIST: _load_idx,
    DatasetName.CIFAR_10: _load_cifar,
}


def dataset_names() -> tuple[str, ...]:
    """Return the names that `load_dataset` knows."""
    return tuple(name.value for name in DatasetName)


def load_dataset(name: str, data_root: Path | None = None) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name
        One of `dataset_names`.
    data_root
        A folder with one sub-folder per data set; None downloads to a cache.

    Raises
    ------
    DataError
        If the name is unknown, or a file is missing, truncated or altered.
    """
    try:
        known = DatasetName(name)
    except ValueError as error:
        raise DataError(
            f"dataset must be one of {', '.join(dataset_names())}, not {name!r}"
        ) from error
    return _LOADERS[known](known, data_root)
