"""Quantisation-aware training on exactly the integer arithmetic of the specification."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from jpnet_spec.numbers import INT8_MAX, choose_multipliers
from jpnet_sw.layout import channels_last
from jpnet_sw.quantisation.capture import CapturedLayer
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = [
    "INPUT_SCALE",
    "QuantisedLayer",
    "QuantisedNetwork",
    "calibrate",
    "input_activations",
    "quantise",
]

INPUT_SCALE = 1.0 / INT8_MAX
"""Value of one step of the image."""

_EXACT_SUM = 2**24


class _Round(torch.autograd.Function):
    """Round half to even and clamp; the gradient passes where nothing was clamped."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(value.abs() <= limit)
        return value.round().clamp(-limit, limit)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grads[0] * inside, None


class _Requantise(torch.autograd.Function):
    """`jpnet_spec.numbers.requantise` on exact sums held as float32."""

    @staticmethod
    def forward(ctx: FunctionCtx, acc: Tensor, scale: Tensor, negative_scale: Tensor) -> Tensor:
        chosen = torch.where(acc < 0, negative_scale, scale)  # float64
        # A 24-bit sum times a 16-bit multiplier and a power of two is exact in float64.
        product = acc.double() * chosen
        inside = product.abs() <= INT8_MAX
        ctx.save_for_backward((chosen * inside).float())
        return product.round().clamp(-INT8_MAX, INT8_MAX).float()

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grads[0] * slope, None, None


def input_activations(images: Tensor) -> Tensor:
    """Return float images, 0 to 1, as the integers 0 to 127 that the network takes."""
    return (images * INT8_MAX).round()


class QuantisedLayer(nn.Module):
    """One layer in integer arithmetic: exact sums, requantisation, filter.

    Weights and biases are float parameters; the forward pass rounds them to int8 and int32. All
    scales are constants: the weight scale of a channel is what its multiplier says exactly.

    Parameters
    ----------
    layer
        Weights to start from, activation function, filter and dropout.
    input_scale, output_scale
        Value of one step of the input and output activations.

    Raises
    ------
    ValueError
        If a scale is not positive.
    """

    scale: Tensor
    negative_scale: Tensor
    weight_scale: Tensor

    def __init__(self, layer: CapturedLayer, *, input_scale: float, output_scale: float) -> None:
        super().__init__()
        for name, scale in (("input_scale", input_scale), ("output_scale", output_scale)):
            if not scale > 0:
                raise ValueError(f"QuantisedLayer.{name} must be positive, not {scale!r}")
        self.name = layer.name
        self.layer = layer
        self.input_scale = input_scale
        self.output_scale = output_scale
        weight, bias = layer.folded()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(bias.clone())
        self.top_n = TopNFilter(layer.top_n.top_n if layer.top_n is not None else None)
        self.dropout = nn.Dropout(layer.dropout.p if layer.dropout is not None else 0.0)
        largest = weight.abs().flatten(start_dim=1).amax(dim=1).double()
        # A channel without weights has only its bias; any scale serves it.
        floor = float(largest.max().clamp_min(1e-6)) / 64
        wanted = largest.clamp_min(floor) / INT8_MAX * (input_scale / output_scale)
        self.multiplier, self.shift = choose_multipliers(wanted.tolist())
        self.negative_multiplier = np.rint(self.multiplier * layer.negative_slope).astype(np.uint16)
        exact = _exact_scale(self.multiplier, self.shift)
        self.register_buffer("scale", exact, persistent=False)
        negative = _exact_scale(self.negative_multiplier, self.shift)
        self.register_buffer("negative_scale", negative, persistent=False)
        weight_scale = (exact * (output_scale / input_scale)).float()
        self.register_buffer("weight_scale", weight_scale, persistent=False)

    def integer_weight(self) -> Tensor:
        """Return the weights as the integers -127 to 127, float32, in the weight's shape."""
        scale = self.weight_scale.reshape(-1, *(1,) * (self.weight.ndim - 1))
        rounded: Tensor = _Round.apply(self.weight / scale, float(INT8_MAX))  # type: ignore[no-untyped-call]
        return rounded

    def integer_bias(self) -> Tensor:
        """Return the biases as integers, float32, shape (oc,)."""
        value = self.bias / (self.weight_scale * self.input_scale)
        rounded: Tensor = _Round.apply(value, float(_EXACT_SUM // 4))  # type: ignore[no-untyped-call]
        return rounded

    def forward(self, activations: Tensor) -> Tensor:
        """Return the surviving activations, pooled.

        Parameters
        ----------
        activations : float32 integers -127 to 127, shape (images, ...)

        Returns
        -------
        float32 integers, shape (images, oc) or (images, oc, rows, columns)
            In training, dropout scales them.
        """
        return self.output(self.top_n(self.tensor(activations)))

    def output(self, survivors: Tensor) -> Tensor:
        """Return what the next layer takes: the survivors, pooled, in training with dropout."""
        pooled = survivors if self.layer.pool is None else self.layer.pool(survivors)
        dropped: Tensor = self.dropout(pooled)
        return dropped

    def tensor(self, activations: Tensor) -> Tensor:
        """Return the requantised sums, before filter and pooling, float32 integers.

        Parameters
        ----------
        activations : float32 integers -127 to 127, shape (images, ...)
        """
        acc = self.layer.sums(activations, self.integer_weight(), self.integer_bias())
        positions = (1,) * (acc.ndim - 2)
        scaled: Tensor = _Requantise.apply(  # type: ignore[no-untyped-call]
            acc, self.scale.reshape(-1, *positions), self.negative_scale.reshape(-1, *positions)
        )
        return scaled

    def products(self, activations: Tensor, weight: Tensor) -> Tensor:
        """Return the sums of other weights, for counting."""
        return self.layer.sums(activations, weight, None)

    @torch.no_grad()
    def check_exact(self) -> None:
        """Refuse weights whose sums could leave what float32 holds exactly.

        Raises
        ------
        ValueError
            If a partial sum could reach ``2**24``.
        """
        sums = self.integer_weight().abs().double().flatten(start_dim=1).sum(dim=1) * INT8_MAX
        largest = int((sums + self.integer_bias().abs().double()).max())
        if largest >= _EXACT_SUM:
            raise ValueError(
                f"layer {self.name!r}: sums must stay below {_EXACT_SUM}, not {largest!r}"
            )


class QuantisedNetwork(nn.Module):
    """A chain of quantised layers; float images in, float logits out.

    Parameters
    ----------
    layers
        In execution order.
    """

    layers: nn.ModuleList

    def __init__(self, layers: Sequence[QuantisedLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def chain(self) -> list[QuantisedLayer]:
        """Return the layers in execution order."""
        return [layer for layer in self.layers if isinstance(layer, QuantisedLayer)]

    def input(self, images: Tensor) -> Tensor:
        """Return float images, 0 to 1, as the activations that the first layer takes."""
        activations = input_activations(images)
        return activations if self.chain()[0].weight.ndim == 2 else channels_last(activations)

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
    layers: Sequence[CapturedLayer], images: Tensor, *, quantile: float = 0.9995
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
        activations = layer.sums(activations, *layer.folded())
        activations = functional.leaky_relu(activations, layer.negative_slope)
        if layer.top_n is not None:
            activations = layer.top_n(activations)
        covered = 1.0 if index == len(layers) - 1 else quantile
        scales.append(_reach(activations, covered) / INT8_MAX)
        if layer.pool is not None:
            activations = layer.pool(activations)
    return scales


def quantise(layers: Sequence[CapturedLayer], output_scales: Sequence[float]) -> QuantisedNetwork:
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
            QuantisedLayer(layer, input_scale=given, output_scale=made)
            for layer, given, made in zip(layers, input_scales, output_scales, strict=True)
        ]
    )


def _reach(output: Tensor, quantile: float) -> float:
    magnitude = output.abs().flatten()
    magnitude = magnitude[magnitude > 0]
    if not len(magnitude):
        return 1.0
    place = min(len(magnitude) - 1, int(quantile * len(magnitude)))
    return float(np.partition(magnitude.cpu().numpy(), place)[place])


def _exact_scale(multiplier: NDArray[np.uint16], shift: int) -> Tensor:
    return torch.from_numpy(multiplier.astype(np.float64)) * 2.0**-shift
