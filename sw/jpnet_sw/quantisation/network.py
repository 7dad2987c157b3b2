"""Quantisation-aware training on exactly the integer arithmetic of the specification."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from jpnet_spec.numbers import INT8_MAX, choose_multipliers
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
        self.relu = layer.relu
        self.input_scale = input_scale
        self.output_scale = output_scale
        weight = layer.linear.weight.detach()
        self.weight = nn.Parameter(weight.clone())
        self.bias = nn.Parameter(layer.linear.bias.detach().clone())
        self.top_n = TopNFilter(layer.top_n.top_n if layer.top_n is not None else None)
        self.dropout = nn.Dropout(layer.dropout.p if layer.dropout is not None else 0.0)
        largest = weight.abs().amax(dim=1).double()
        # A channel without weights has only its bias; any scale serves it.
        floor = float(largest.max().clamp_min(1e-6)) / 64
        wanted = largest.clamp_min(floor) / INT8_MAX * (input_scale / output_scale)
        multiplier, self.shift = choose_multipliers(wanted.tolist())
        self.multiplier = multiplier
        exact = torch.from_numpy(multiplier.astype(np.float64)) * 2.0**-self.shift
        self.register_buffer("scale", exact, persistent=False)
        self.register_buffer(
            "negative_scale", torch.zeros_like(exact) if self.relu else exact, persistent=False
        )
        weight_scale = (exact * (output_scale / input_scale)).float()
        self.register_buffer("weight_scale", weight_scale, persistent=False)

    def integer_weight(self) -> Tensor:
        """Return the weights as the integers -127 to 127, float32, shape (oc, ic)."""
        rounded: Tensor = _Round.apply(self.weight / self.weight_scale[:, None], float(INT8_MAX))  # type: ignore[no-untyped-call]
        return rounded

    def integer_bias(self) -> Tensor:
        """Return the biases as integers, float32, shape (oc,)."""
        value = self.bias / (self.weight_scale * self.input_scale)
        rounded: Tensor = _Round.apply(value, float(_EXACT_SUM // 4))  # type: ignore[no-untyped-call]
        return rounded

    def forward(self, activations: Tensor) -> Tensor:
        """Return the surviving activations.

        Parameters
        ----------
        activations : float32 integers -127 to 127, shape (images, ic)

        Returns
        -------
        float32 integers, shape (images, oc)
            In training, dropout scales them.
        """
        kept: Tensor = self.dropout(self.top_n(self.tensor(activations)))
        return kept

    def tensor(self, activations: Tensor) -> Tensor:
        """Return the output before the filter, float32 integers, shape (images, oc).

        Parameters
        ----------
        activations : float32 integers -127 to 127, shape (images, ic)
        """
        acc = functional.linear(activations, self.integer_weight(), self.integer_bias())
        scaled: Tensor = _Requantise.apply(  # type: ignore[no-untyped-call]
            acc, self.scale, self.negative_scale
        )
        return scaled

    @torch.no_grad()
    def check_exact(self) -> None:
        """Refuse weights whose sums could leave what float32 holds exactly.

        Raises
        ------
        ValueError
            If a partial sum could reach ``2**24``.
        """
        sums = self.integer_weight().abs().double().sum(dim=1) * INT8_MAX
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

    def integer_logits(self, images: Tensor) -> Tensor:
        """Return the logits as integers, float32, shape (images, classes)."""
        activations = input_activations(images).flatten(start_dim=1)
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
        activations = input_activations(images).flatten(start_dim=1)
        for layer in self.chain():
            tensor = layer.tensor(activations)
            found[layer.name] = layer.top_n.threshold(tensor).flatten()
            activations = layer.top_n(tensor)
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
    activations = input_activations(images).flatten(start_dim=1) * INPUT_SCALE
    for index, layer in enumerate(layers):
        activations = functional.linear(activations, layer.linear.weight, layer.linear.bias)
        if layer.relu:
            activations = functional.relu(activations)
        if layer.top_n is not None:
            activations = layer.top_n(activations)
        covered = 1.0 if index == len(layers) - 1 else quantile
        scales.append(_reach(activations, covered) / INT8_MAX)
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
    magnitude = magnitude[magnitude > 0].sort().values
    if not len(magnitude):
        return 1.0
    return float(magnitude[min(len(magnitude) - 1, int(quantile * len(magnitude)))])
