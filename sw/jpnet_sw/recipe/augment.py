"""Random affine deformations of training images."""

import torch
from torch import Tensor
from torch.nn import functional

from jpnet_sw.recipe.config import AugmentConfig

__all__ = ["augment"]

_FAINT = 0.1
"""Pixels below this become 0: interpolation must not fill the dark background."""


def augment(images: Tensor, config: AugmentConfig) -> Tensor:
    """Deform each image by its own random affine map, from torch's global generator.

    Parameters
    ----------
    images : float32, shape (images, channels, height, width), 0 to 1
    config
        Largest deformations.
    """
    if not config.active:
        return images
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
