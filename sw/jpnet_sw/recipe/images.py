"""A data set as tensors, with training images set aside for every choice."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jpnet_sw.data import Dataset, centre_crop
from jpnet_sw.recipe.config import RecipeConfig
from jpnet_sw.recipe.epoch import TrainingImages

__all__ = ["float_images", "split_held_out"]

_SPLIT_SEED = 1234
"""The same images are held out for every seed, so that seeds can be compared."""


def float_images(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return images as float32 from 0 to 1 on a device."""
    return torch.from_numpy(images.astype(np.float32) / 255).to(device)


def split_held_out(dataset: Dataset, recipe: RecipeConfig, device: torch.device) -> TrainingImages:
    """Split the training images into those to train on and those to choose by.

    Raises
    ------
    ValueError
        If nothing would be left to train on.
    """
    count, held_out = len(dataset.train_images), recipe.held_out
    if held_out >= count:
        raise ValueError(
            f"RecipeConfig.held_out must be below the {count} training images, not {held_out!r}"
        )
    order = np.random.default_rng(_SPLIT_SEED).permutation(count)
    chosen, rest = order[:held_out], np.sort(order[held_out:])
    shape = recipe.image_shape(dataset.image_shape)
    calibration = dataset.train_images[rest[: recipe.quantise.calibration_images]]
    labels = dataset.train_labels.astype(np.int64)
    return TrainingImages(
        images=float_images(dataset.train_images[rest], device),
        labels=torch.from_numpy(labels[rest]).to(device),
        held_out_images=float_images(centre_crop(dataset.train_images[chosen], shape), device),
        calibration_images=float_images(centre_crop(calibration, shape), device),
        held_out_labels=torch.from_numpy(labels[chosen]).to(device),
    )
