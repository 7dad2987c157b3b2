"""The images of a model's data set, as the integer network takes them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.network import IntegerNetwork

__all__ = ["LabelledImages", "image_count", "load_calibration_images", "load_test_images"]

_CALIBRATION = 2000
"""Training images that tell the compiler how often each activation survives."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelledImages:
    """Images and labels.

    Parameters
    ----------
    dataset
        Where they are from.
    images : int8, shape (images, *input_shape)
    labels : uint8, shape (images,)
    """

    dataset: str
    images: NDArray[np.int8]
    labels: NDArray[np.uint8]


def image_count(text: str) -> int | None:
    """Return the number that an option asks for, None for all.

    Raises
    ------
    ValueError
        If the text is neither a positive number nor ``all``.
    """
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--images must be a positive number or 'all', not {text!r}")
    return int(text)


def _dataset_name(network: IntegerNetwork) -> str:
    name = network.metadata.get("dataset")
    if not isinstance(name, str):
        raise ValueError(f"{network.name}: the model does not say which data set it is for")
    return name


def _middle(network: IntegerNetwork) -> tuple[int, ...] | None:
    """Return the shape of what is cut out of images, None where all of them is taken."""
    return network.input_shape if len(network.input_shape) > 1 else None


def _shaped(network: IntegerNetwork, images: NDArray[np.int8]) -> NDArray[np.int8]:
    wanted = tuple(network.input_shape)
    if int(np.prod(images.shape[1:])) != int(np.prod(wanted)):
        raise ValueError(
            f"{network.name}: takes images of shape {wanted}, its data set has {images.shape[1:]}"
        )
    return images.reshape(len(images), *wanted)


def load_test_images(
    network: IntegerNetwork, *, data_root: Path | None, count: int | None = None
) -> LabelledImages:
    """Return the first test images of the model's data set, all of them by default.

    Raises
    ------
    ValueError
        If the model names no data set, or the data does not fit, is missing or damaged, or has
        fewer images.
    """
    from jpnet_sw.data import load_dataset

    name = _dataset_name(network)
    data = load_dataset(name, data_root)
    if count is not None and count > len(data.test_labels):
        raise ValueError(f"{name} has {len(data.test_labels):,} test images, not {count:,}")
    return LabelledImages(
        dataset=name,
        images=_shaped(network, data.test_activations(_middle(network))[:count]),
        labels=data.test_labels[:count],
    )


def load_calibration_images(network: IntegerNetwork, *, data_root: Path | None) -> NDArray[np.int8]:
    """Return training images for the compiler, int8, shape (images, *input_shape).

    Raises
    ------
    ValueError
        If the model names no data set, or the data does not fit or is missing or damaged.
    """
    from jpnet_sw.data import load_dataset

    data = load_dataset(_dataset_name(network), data_root)
    return _shaped(network, data.train_activations(_middle(network))[:_CALIBRATION])
