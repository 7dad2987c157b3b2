import gzip
import hashlib
import lzma

import numpy as np
import pytest

from jpnet_spec.numbers import quantise_unit_image
from jpnet_sw.data import DataError, centre_crop, dataset_names, load_dataset
from jpnet_sw.data.registry import SOURCES
from jpnet_sw.data.source import DataFile, FileSource

CONTENT = bytes(range(256)) * 4


def file_source(content=CONTENT, urls=()):
    digest = hashlib.sha256(content).hexdigest()
    file = DataFile(name="part", size_bytes=len(content), checksum=f"sha256:{digest}")
    return FileSource(folder="set", files=(file,), urls=urls)


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)]
)
def test_file_is_read_plain_or_compressed(tmp_path, suffix, pack):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / f"part{suffix}").write_bytes(pack(CONTENT))
    assert file_source().read(tmp_path) == {"part": CONTENT}


def test_missing_file_is_named_with_the_place_to_put_it(tmp_path):
    with pytest.raises(DataError, match=r"set/part: missing, .*put part .*<folder>/set/") as caught:
        file_source().read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_truncated_file_is_refused_by_name(tmp_path, suffix):
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / f"part{suffix}").write_bytes(pack(CONTENT)[:-9])
    with pytest.raises(DataError, match=rf"set/part{suffix}: .*expected 1024 bytes, found"):
        file_source().read(tmp_path)


def test_altered_file_is_refused_with_both_checksums(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "part").write_bytes(b"\xff" + CONTENT[1:])
    with pytest.raises(DataError, match=r"altered, expected sha256:\w+, found sha256:\w+"):
        file_source().read(tmp_path)


def test_failed_download_says_where_to_put_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr("jpnet_sw.data.source.pooch.os_cache", lambda name: tmp_path)
    absent = (tmp_path / "nowhere").as_uri()
    with pytest.raises(DataError, match=r"--data-root or JPNET_DATA") as caught:
        file_source(urls=((absent, "md5:0"),)).read(None)
    assert "\n" not in str(caught.value)


def test_unknown_checksum_algorithm_is_refused():
    with pytest.raises(ValueError, match=r"DataFile.checksum must start with .*not 'crc:1'"):
        DataFile(name="part", size_bytes=1, checksum="crc:1")


def test_unknown_data_set_is_refused():
    with pytest.raises(DataError, match=r"dataset must be one of .*, not 'imagenet'"):
        load_dataset("imagenet")


def test_registry_has_the_four_data_sets():
    assert dataset_names() == ("digits", "mnist", "fashion-mnist", "cifar-10")
    assert {len(source.files) for source in SOURCES.values()} == {4, 6}


def test_digits_need_no_folder_and_fill_the_range():
    digits = load_dataset("digits")
    assert digits.train_images.shape == (1438, 1, 8, 8)
    assert digits.test_images.shape == (359, 1, 8, 8)
    assert digits.train_images.dtype == digits.train_labels.dtype == np.uint8
    assert digits.train_images.max() == 255
    assert set(digits.test_labels) == set(range(10))


def test_activations_are_the_specified_quantisation():
    digits = load_dataset("digits")
    assert np.array_equal(digits.test_activations(), quantise_unit_image(digits.test_images))
    assert digits.train_activations().dtype == np.int8


def idx(array):
    header = [0x800 + array.ndim, *array.shape]
    return np.array(header, dtype=">u4").tobytes() + array.tobytes()


def test_idx_files_become_images_and_labels(tmp_path, monkeypatch, rng):
    arrays = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (5, 28, 28)).astype(np.uint8),
        "train-labels-idx1-ubyte": rng.integers(0, 10, 5).astype(np.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (3, 28, 28)).astype(np.uint8),
        "t10k-labels-idx1-ubyte": rng.integers(0, 10, 3).astype(np.uint8),
    }
    files = []
    (tmp_path / "mnist").mkdir()
    for name, array in arrays.items():
        content = idx(array)
        (tmp_path / "mnist" / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        files.append(DataFile(name=name, size_bytes=len(content), checksum=f"sha256:{digest}"))
    source = FileSource(folder="mnist", files=tuple(files), urls=())
    monkeypatch.setitem(SOURCES, "mnist", source)
    mnist = load_dataset("mnist", tmp_path)
    assert np.array_equal(mnist.train_images[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(mnist.test_labels, arrays["t10k-labels-idx1-ubyte"])
    assert mnist.image_shape == (1, 28, 28)


def test_cifar_batches_become_colour_images(tmp_path, monkeypatch, rng):
    files, rows = [], {}
    (tmp_path / "cifar-10").mkdir()
    for name in ("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"):
        rows[name] = rng.integers(0, 256, (2, 3073)).astype(np.uint8)
        content = rows[name].tobytes()
        (tmp_path / "cifar-10" / f"{name}.xz").write_bytes(lzma.compress(content))
        digest = hashlib.md5(content).hexdigest()
        files.append(DataFile(name=name, size_bytes=len(content), checksum=f"md5:{digest}"))
    monkeypatch.setitem(
        SOURCES, "cifar-10", FileSource(folder="cifar-10", files=tuple(files), urls=())
    )
    cifar = load_dataset("cifar-10", tmp_path)
    assert cifar.train_images.shape == (4, 3, 32, 32)
    assert np.array_equal(cifar.train_images[2].ravel(), rows["data_batch_2.bin"][0, 1:])
    assert np.array_equal(cifar.test_labels, rows["test_batch.bin"][:, 0])


def test_images_and_labels_must_match_in_number():
    digits = load_dataset("digits")
    with pytest.raises(ValueError, match=r"Dataset.test_labels must be uint8 of shape \(359,\)"):
        type(digits)(
            name=digits.name,
            train_images=digits.train_images,
            train_labels=digits.train_labels,
            test_images=digits.test_images,
            test_labels=digits.test_labels[:-1],
        )


def test_centre_crop_leaves_the_middle(rng):
    images = rng.integers(0, 256, (3, 2, 7, 9)).astype(np.uint8)
    assert np.array_equal(centre_crop(images, (2, 4, 5)), images[:, :, 1:5, 2:7])
    assert np.array_equal(centre_crop(images, (2, 7, 9)), images)
    digits = load_dataset("digits")
    middle = quantise_unit_image(digits.test_images[:, :, 1:7, 1:7])
    assert np.array_equal(digits.test_activations((1, 6, 6)), middle)


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 8, 4), (2, 4, 10), (4, 4)])
def test_images_that_do_not_contain_the_crop_are_refused(shape):
    with pytest.raises(ValueError, match=r"images of shape \(2, 7, 9\) must contain those of"):
        centre_crop(np.zeros((1, 2, 7, 9), dtype=np.uint8), shape)
