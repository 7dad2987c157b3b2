"""Quantisation-aware training on exactly the integer arithmetic of the specification."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from jpnet_spec.numbers import INT8_MAX
from jpnet_sw.layout import channels_last
from jpnet_sw.quantisation.average import QuantisedAverage
from jpnet_sw.quantisation.capture import Captured, CapturedLayer
from jpnet_sw.quantisation.layer import QuantisedLayer

__all__ = [
    "INPUT_SCALE",
    "QuantisedNetwork",
    "calibrate",
    "input_activations",
    "quantise",
]

INPUT_SCALE = 1.0 / INT8_MAX
"""Value of one step of the image."""

Quantised = QuantisedLayer | QuantisedAverage


def input_activations(images: Tensor) -> Tensor:
    """Return float images, 0 to 1, as the integers 0 to 127 that the network takes."""
    return (images * INT8_MAX).round()


class QuantisedNetwork(nn.Module):
    """A chain of quantised layers; float images in, float logits out.

    Parameters
    ----------
    layers
        In execution order.
    """

    layers: nn.ModuleList

    def __init__(self, layers: Sequence[Quantised]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def chain(self) -> list[Quantised]:
        """Return the layers in execution order."""
        return [layer for layer in self.layers if isinstance(layer, Quantised)]

    def weighted(self) -> list[QuantisedLayer]:
        """Return the layers that have weights."""
        return [layer for layer in self.layers if isinstance(layer, QuantisedLayer)]

    def input(self, images: Tensor) -> Tensor:
        """Return float images, 0 to 1, as the activations that the first layer takes."""
        activations = input_activations(images)
        return channels_last(activations) if self.chain()[0].layer.spatial else activations

    def integer_logits(self, images: Tensor) -> Tensor:
        """Return the logits as integers, float32, shape (images, classes)."""
        activations = self.input(images)
        for layer in self.layers:
            activations = layer(activations)
        return activations

    @torch.no_grad()
    def thresholds(self, images: Tensor) -> dict[str, Tensor]:
        """Return each layer's thresholds, float32 integers of shape (images,).

        Parameters
        ----------
        images : float32, shape (images, channels, height, width), 0 to 1
        """
        found = {}
        activations = self.input(images)
        for layer in self.chain():
            tensor = layer.tensor(activations)
            found[layer.name] = layer.top_n.threshold(tensor).flatten()
            activations = layer.output(layer.top_n(tensor))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits.

        Parameters
        ----------
        images : float32, shape (images, channels, height, width), 0 to 1
        """
        return self.integer_logits(images) * self.chain()[-1].output_scale


@torch.no_grad()
def calibrate(
    layers: Sequence[Captured], images: Tensor, *, quantile: float = 0.9995
) -> list[float]:
    """Return each layer's activation scale, taken from real images.

    Parameters
    ----------
    layers
        The float network.
    images : float32, shape (images, channels, height, width), 0 to 1
        Training images.
    quantile
        Share of the non-zero activations that the largest code must cover; the logits are covered
        whole.
    """
    scales = []
    activations = input_activations(images) * INPUT_SCALE
    for index, layer in enumerate(layers):
        activations = layer.survivors(activations)
        covered = 1.0 if index == len(layers) - 1 else quantile
        scales.append(_reach(activations, covered) / INT8_MAX)
        activations = layer.pooled(activations)
    return scales


def quantise(layers: Sequence[Captured], output_scales: Sequence[float]) -> QuantisedNetwork:
    """Quantise a chain of layers.

    Parameters
    ----------
    layers
        The float network.
    output_scales
        Of each layer, see `calibrate`.
    """
    input_scales = [INPUT_SCALE, *output_scales[:-1]]
    return QuantisedNetwork(
        [
            _quantise(layer, input_scale=given, output_scale=made)
            for layer, given, made in zip(layers, input_scales, output_scales, strict=True)
        ]
    )


def _quantise(layer: Captured, *, input_scale: float, output_scale: float) -> Quantised:
    if isinstance(layer, CapturedLayer):
        return QuantisedLayer(layer, input_scale=input_scale, output_scale=output_scale)
    return QuantisedAverage(layer, input_scale=input_scale, output_scale=output_scale)


def _reach(output: Tensor, quantile: float) -> float:
    magnitude = output.abs().flatten()
    magnitude = magnitude[magnitude > 0]
    if not len(magnitude):
        return 1.0
    place = min(len(magnitude) - 1, int(quantile * len(magnitude)))
    return float(np.partition(magnitude.cpu().numpy(), place)[place])
