"""A layer with weights in the integer arithmetic of the specification."""

import numpy as np
import torch
from torch import Tensor, nn

from jpnet_spec.layer import Layer, LayerOp
from jpnet_spec.numbers import INT8_MAX, choose_multipliers
from jpnet_sw.quantisation.arithmetic import (
    EXACT_SUM,
    exact_scale,
    requantise_sums,
    round_clamp,
)
from jpnet_sw.quantisation.capture import CapturedLayer
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["QuantisedLayer"]


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
        self.top_n = TopNFilter(
            layer.top_n.top_n if layer.top_n is not None else None, integers=True
        )
        self.dropout = nn.Dropout(layer.dropout.p if layer.dropout is not None else 0.0)
        largest = weight.abs().flatten(start_dim=1).amax(dim=1).double()
        # A channel without weights has only its bias; any scale serves it.
        floor = float(largest.max().clamp_min(1e-6)) / 64
        wanted = largest.clamp_min(floor) / INT8_MAX * (input_scale / output_scale)
        self.multiplier, self.shift = choose_multipliers(wanted.tolist())
        self.negative_multiplier = np.rint(self.multiplier * layer.negative_slope).astype(np.uint16)
        exact = exact_scale(self.multiplier, self.shift)
        self.register_buffer("scale", exact, persistent=False)
        negative = exact_scale(self.negative_multiplier, self.shift)
        self.register_buffer("negative_scale", negative, persistent=False)
        weight_scale = (exact * (output_scale / input_scale)).float()
        self.register_buffer("weight_scale", weight_scale, persistent=False)

    def integer_weight(self) -> Tensor:
        """Return the weights as the integers -127 to 127, float32, in the weight's shape."""
        scale = self.weight_scale.reshape(-1, *(1,) * (self.weight.ndim - 1))
        return round_clamp(self.weight / scale, float(INT8_MAX))

    def integer_bias(self) -> Tensor:
        """Return the biases as integers, float32, shape (oc,)."""
        value = self.bias / (self.weight_scale * self.input_scale)
        return round_clamp(value, float(EXACT_SUM // 4))

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
        dropped: Tensor = self.dropout(self.layer.pooled(survivors))
        return dropped

    def tensor(self, activations: Tensor) -> Tensor:
        """Return the requantised sums, before filter and pooling, float32 integers.

        Parameters
        ----------
        activations : float32 integers -127 to 127, shape (images, ...)
        """
        acc = self.layer.sums(activations, self.integer_weight(), self.integer_bias())
        return requantise_sums(acc, self.scale, self.negative_scale)

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
        if largest >= EXACT_SUM:
            raise ValueError(
                f"layer {self.name!r}: sums must stay below {EXACT_SUM}, not {largest!r}"
            )

    @torch.no_grad()
    def integer_layer(self, source: str, input_shape: tuple[int, ...]) -> Layer:
        """Return the layer of the integer network.

        Parameters
        ----------
        source
            Name of the producer.
        input_shape
            Of the producer's output.

        Raises
        ------
        ValueError
            If shapes do not fit, or sums could leave what training computes exactly.
        """
        self.check_exact()
        convolution = self.layer.convolution(input_shape)
        return Layer(
            name=self.name,
            op=LayerOp.FULLY_CONNECTED if convolution is None else LayerOp.CONVOLUTION,
            inputs=(source,),
            weight=self.integer_weight().cpu().numpy().astype(np.int8),
            bias=self.integer_bias().cpu().numpy().astype(np.int32),
            multiplier=self.multiplier,
            negative_multiplier=self.negative_multiplier,
            shift=self.shift,
            top_n=self.top_n.top_n,
            convolution=convolution,
            pool=self.layer.window(input_shape),
        )
