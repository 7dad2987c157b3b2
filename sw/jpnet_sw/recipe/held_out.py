"""What a network does on the images by which choices are made."""

import torch
from torch import nn
from torch.nn import functional

from jpnet_sw.metrics import accuracy
from jpnet_sw.recipe.epoch import TrainingImages
from jpnet_sw.sparsity.density import measure_density
from jpnet_sw.sparsity.joint_rates import Measurement

__all__ = ["measure_held_out"]

_BATCH = 1000


@torch.no_grad()
def measure_held_out(model: nn.Module, images: TrainingImages) -> Measurement:
    """Return a float network's accuracy, loss and effective MACs on the held-out images."""
    given, labels = images.held_out_images, images.held_out_labels
    training = model.training
    model.eval()
    losses = [
        functional.cross_entropy(
            model(given[first : first + _BATCH]), labels[first : first + _BATCH], reduction="sum"
        )
        for first in range(0, len(given), _BATCH)
    ]
    model.train(training)
    return Measurement(
        accuracy_percent=100 * accuracy(model, given, labels),
        loss=float(torch.stack(losses).sum()) / len(given),
        macs=sum(layer.macs_effective for layer in measure_density(model, given)),
    )
