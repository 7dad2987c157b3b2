"""Quantisation-aware training on exactly the integer arithmetic of the specification."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from jpnet_spec.layer import INPUT
from jpnet_spec.numbers import INT8_MAX
from jpnet_sw.layout import channels_last
from jpnet_sw.quantisation.affine import CapturedAffine, QuantisedAffine
from jpnet_sw.quantisation.average import QuantisedAverage
from jpnet_sw.quantisation.captured import CapturedLayer
from jpnet_sw.quantisation.fusion import Captured
from jpnet_sw.quantisation.graph import run_graph
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

Quantised = QuantisedLayer | QuantisedAverage | QuantisedAffine


def input_activations(images: Tensor) -> Tensor:
    """Return float images, 0 to 1, as the integers 0 to 127 that the network takes."""
    return (images * INT8_MAX).round()


class QuantisedNetwork(nn.Module):
    """A graph of quantised layers; float images in, float logits out.

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
        return run_graph(self.chain(), self.input(images), lambda layer, tensors: layer(*tensors))

    @torch.no_grad()
    def thresholds(self, images: Tensor) -> dict[str, Tensor]:
        """Return each layer's thresholds, float32 integers of shape (images,).

        Parameters
        ----------
        images : float32, shape (images, channels, height, width), 0 to 1
        """
        found = {}

        def compute(layer: Quantised, tensors: list[Tensor]) -> tuple[Tensor, Tensor]:
            found[layer.name] = layer.top_n.threshold(layer.tensor(*tensors)).flatten()
            made: tuple[Tensor, Tensor] = layer(*tensors)
            return made

        run_graph(self.chain(), self.input(images), compute)
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

    def compute(layer: Captured, tensors: list[Tensor]) -> tuple[Tensor, Tensor]:
        tensor = layer.tensor(*tensors)
        survivors = tensor if layer.top_n is None else layer.top_n(tensor)
        covered = 1.0 if layer is layers[-1] else quantile
        scales.append(_reach(survivors, covered) / INT8_MAX)
        return layer.pooled(tensor), layer.pooled(survivors)

    run_graph(layers, input_activations(images) * INPUT_SCALE, compute)
    return scales


def quantise(layers: Sequence[Captured], output_scales: Sequence[float]) -> QuantisedNetwork:
    """Quantise a graph of layers.

    Parameters
    ----------
    layers
        The float network.
    output_scales
        Of each layer, see `calibrate`.
    """
    scales = {INPUT: INPUT_SCALE}
    scales |= {layer.name: made for layer, made in zip(layers, output_scales, strict=True)}
    return QuantisedNetwork([_quantise(layer, scales) for layer in layers])


def _quantise(layer: Captured, scales: Mapping[str, float]) -> Quantised:
    given, made = scales[layer.inputs[0]], scales[layer.name]
    if isinstance(layer, CapturedLayer):
        carried = scales[layer.inputs[1]] if layer.residual else None
        return QuantisedLayer(layer, input_scale=given, output_scale=made, carried_scale=carried)
    if isinstance(layer, CapturedAffine):
        return QuantisedAffine(layer, input_scale=given, output_scale=made)
    return QuantisedAverage(layer, input_scale=given, output_scale=made)


def _reach(output: Tensor, quantile: float) -> float:
    magnitude = output.abs().flatten()
    magnitude = magnitude[magnitude > 0]
    if not len(magnitude):
        return 1.0
    place = min(len(magnitude) - 1, int(quantile * len(magnitude)))
    return float(np.partition(magnitude.cpu().numpy(), place)[place])
