"""What a data set is once it is in memory."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.numbers import quantise_unit_image

__all__ = ["DataError", "Dataset", "DatasetName", "centre_crop"]


def centre_crop(images: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Cut the middle out of images; the larger half of an odd margin goes below and right.

    Parameters
    ----------
    images : uint8, shape (images, channels, height, width)
    shape
        Channels, height and width of the result.

    Raises
    ------
    ValueError
        If the images have other channels or are smaller.
    """
    channels, height, width = images.shape[1:]
    if len(shape) != 3 or shape[0] != channels or shape[1] > height or shape[2] > width:
        raise ValueError(f"images of shape {images.shape[1:]} must contain those of shape {shape}")
    top, left = (height - shape[1]) // 2, (width - shape[2]) // 2
    return images[:, :, top : top + shape[1], left : left + shape[2]]


class DataError(ValueError):
    """Data that is missing, truncated or altered."""


class DatasetName(StrEnum):
    """The data sets of the registry."""

    DIGITS = "digits"
    """1,797 real 8x8 digits that scikit-learn carries; nothing to fetch."""
    MNIST = "mnist"
    """60,000 and 10,000 digits of 28x28."""
    FASHION_MNIST = "fashion-mnist"
    """60,000 and 10,000 articles of clothing of 28x28."""
    CIFAR_10 = "cifar-10"
    """50,000 and 10,000 colour photographs of 32x32."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """Images and labels for training and for the final test.

    Parameters
    ----------
    name
        Which data set this is.
    train_images, test_images : uint8, shape (images, channels, height, width), 0 to 255
    train_labels, test_labels : uint8, shape (images,), 0 to 9

    Raises
    ------
    ValueError
        If dtypes or shapes do not fit each other.
    """

    name: DatasetName
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images = getattr(self, f"{part}_images")
            labels = getattr(self, f"{part}_labels")
            if images.dtype != np.uint8 or images.ndim != 4:
                raise ValueError(
                    f"Dataset.{part}_images must be uint8 of shape (images, channels, height, "
                    f"width), not {images.dtype} of shape {images.shape}"
                )
            if labels.dtype != np.uint8 or labels.shape != (len(images),):
                raise ValueError(
                    f"Dataset.{part}_labels must be uint8 of shape {(len(images),)}, "
                    f"not {labels.dtype} of shape {labels.shape}"
                )
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise ValueError(
                f"Dataset.test_images must have images of shape {self.train_images.shape[1:]}, "
                f"not {self.test_images.shape[1:]}"
            )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image: channels, height, width."""
        return tuple(self.train_images.shape[1:])

    def test_activations(self, image_shape: tuple[int, ...] | None = None) -> NDArray[np.int8]:
        """Return the test images as the integer network takes them.

        Parameters
        ----------
        image_shape
            The network's; smaller than the data set's cuts out the middle, None takes all.

        Returns
        -------
        int8, shape (images, channels, height, width), 0 to 127

        Raises
        ------
        ValueError
            If the data set's images do not contain such a middle.
        """
        return quantise_unit_image(centre_crop(self.test_images, image_shape or self.image_shape))

    def train_activations(self, image_shape: tuple[int, ...] | None = None) -> NDArray[np.int8]:
        """Return the training images as the integer network takes them.

        Parameters
        ----------
        image_shape
            See `test_activations`.

        Returns
        -------
        int8, shape (images, channels, height, width), 0 to 127

        Raises
        ------
        ValueError
            If the data set's images do not contain such a middle.
        """
        return quantise_unit_image(centre_crop(self.train_images, image_shape or self.image_shape))
