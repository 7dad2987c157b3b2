"""Random deformations of training images."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from jpnet_sw.recipe.config import AugmentConfig

__all__ = ["augment", "random_crop"]

_FAINT = 0.1
"""Pixels below this become 0: interpolation must not fill the dark background."""


def augment(images: Tensor, config: AugmentConfig) -> Tensor:
    """Deform each image by its own random map, from torch's global generator.

    Parameters
    ----------
    images : float32, shape (images, channels, height, width), 0 to 1
    config
        Largest deformations.
    """
    moved = _random_affine(images, config) if config.affine else images
    if config.pad:
        moved = random_crop(functional.pad(moved, (config.pad,) * 4), images.shape[2:])
    if not config.flip:
        return moved
    chosen = (torch.rand(len(moved)) < 0.5).to(moved.device)
    return torch.where(chosen[:, None, None, None], moved.flip(dims=(3,)), moved)


def random_crop(images: Tensor, size: Sequence[int]) -> Tensor:
    """Cut a rectangle from a random place of each image, from torch's global generator.

    Parameters
    ----------
    images : shape (images, channels, height, width)
    size
        Rows and columns, at most height and width.
    """
    count, _, height, width = images.shape
    top = torch.randint(height - size[0] + 1, (count,)).to(images.device)
    left = torch.randint(width - size[1] + 1, (count,)).to(images.device)
    rectangles = images.unfold(2, size[0], 1).unfold(3, size[1], 1)
    return rectangles[torch.arange(count, device=images.device), :, top, left]


def _random_affine(images: Tensor, config: AugmentConfig) -> Tensor:
    # Drawn on the CPU, so that a seed means the same images on every device.
    draws = torch.rand(6, len(images)) * 2 - 1
    angle = draws[0] * config.rotation_radians
    scale = 1 + draws[1] * config.scale
    affine = torch.zeros(len(images), 2, 3)
    affine[:, 0, 0] = scale * angle.cos()
    affine[:, 0, 1] = draws[2] * config.shear - angle.sin()
    affine[:, 1, 0] = angle.sin()
    affine[:, 1, 1] = scale * angle.cos()
    affine[:, :, 2] = draws[3:5].T * config.shift
    grid = functional.affine_grid(affine.to(images.device), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, align_corners=False)
    return torch.where(moved < _FAINT, 0.0, moved)
