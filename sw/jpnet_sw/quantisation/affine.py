"""The second tensor of a residual addition: normalised and activated, in float and in integers."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from jpnet_spec.convolution import Convolution
from jpnet_spec.layer import AFFINE_UNIT, Layer, LayerOp
from jpnet_spec.numbers import choose_multipliers
from jpnet_spec.window import Window
from jpnet_sw.quantisation.arithmetic import (
    EXACT_SUM,
    exact_scale,
    requantise_sums,
    round_clamp,
)
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["CapturedAffine", "QuantisedAffine"]

_LARGEST_BIAS = EXACT_SUM // 4
_LARGEST_OFFSET = 1024.0
"""In steps of the output; what is beyond is clamped in any case."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CapturedAffine:
    """Batch normalisation and activation function of a tensor that others read too.

    Parameters
    ----------
    name
        Name of its first module.
    inputs
        Name of the producer.
    norm
        The normalisation, or None.
    negative_slope
        Of the activation function: 0 for ReLU, 1 for the identity.
    top_n
        The filter of the output, or None.
    dropout
        Used in training only, or None.
    """

    name: str
    inputs: tuple[str, ...]
    norm: nn.BatchNorm2d | None = None
    negative_slope: float = 1.0
    top_n: TopNFilter | None = None
    dropout: nn.Dropout | None = None

    @property
    def multiplies(self) -> bool:
        """Whether it takes survivors."""
        return False

    @property
    def spatial(self) -> bool:
        """Whether it takes maps."""
        return True

    @torch.no_grad()
    def gain_and_offset(self) -> tuple[Tensor, Tensor]:
        """Return what an element is multiplied by, and what is added then.

        Of each channel, float32, shape (channels,); shape (1,) without a normalisation.
        """
        if self.norm is None:
            return torch.ones(1), torch.zeros(1)
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        gain = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        return gain, self.norm.bias - self.norm.running_mean * gain

    def tensor(self, activations: Tensor) -> Tensor:
        """Return the activations, in float and evaluated, before the filter."""
        gain, offset = (value.to(activations.device) for value in self.gain_and_offset())
        sums = activations * gain[:, None, None] + offset[:, None, None]
        return functional.leaky_relu(sums, self.negative_slope)

    def pooled(self, survivors: Tensor) -> Tensor:
        """Return a tensor as it is passed on."""
        return survivors

    def sums_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one image's tensor."""
        return input_shape

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one image's tensor."""
        return input_shape


class QuantisedAffine(nn.Module):
    """An affine layer in integer arithmetic: sign, bias, requantisation, filter.

    The biases are float parameters, rounded in the forward pass; the gains are constants.

    Parameters
    ----------
    layer
        Gain and offset to start from, activation function, filter and dropout.
    input_scale, output_scale
        Value of one step of the input and output activations.
    """

    sign: Tensor
    scale: Tensor
    negative_scale: Tensor

    def __init__(self, layer: CapturedAffine, *, input_scale: float, output_scale: float) -> None:
        super().__init__()
        self.name = layer.name
        self.inputs = layer.inputs
        self.multiplies = False
        self.layer = layer
        self.output_scale = output_scale
        gain, offset = layer.gain_and_offset()
        self.bias = nn.Parameter(offset.clone())
        self.top_n = TopNFilter(
            layer.top_n.top_n if layer.top_n is not None else None, integers=True
        )
        self.dropout = nn.Dropout(layer.dropout.p if layer.dropout is not None else 0.0)
        sign = torch.where(gain < 0, -1.0, 1.0) * AFFINE_UNIT
        self.register_buffer("sign", sign, persistent=False)
        wanted = gain.abs().double() * input_scale / (AFFINE_UNIT * output_scale)
        # A gain may be so small that its channel's bias would not fit.
        needed = (offset.abs().double() / output_scale).clamp_max(_LARGEST_OFFSET) / _LARGEST_BIAS
        smallest = torch.maximum(2 * needed, torch.tensor(2.0**-40))
        self.multiplier, self.shift = choose_multipliers(torch.maximum(wanted, smallest).tolist())
        self.negative_multiplier = np.rint(self.multiplier * layer.negative_slope).astype(np.uint16)
        exact = exact_scale(self.multiplier, self.shift)
        self.register_buffer("scale", exact, persistent=False)
        negative = exact_scale(self.negative_multiplier, self.shift)
        self.register_buffer("negative_scale", negative, persistent=False)

    def integer_bias(self) -> Tensor:
        """Return the biases as integers, float32, shape (channels,) or (1,)."""
        return round_clamp(self.bias / (self.scale * self.output_scale).float(), _LARGEST_BIAS)

    def forward(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tensor as it is stored, and as it is passed on.

        Parameters
        ----------
        activations : float32 integers -127 to 127, shape (images, channels, height, width)
        """
        tensor = self.tensor(activations)
        return tensor, self.dropout(self.top_n(tensor))

    def tensor(self, activations: Tensor) -> Tensor:
        """Return the activations before the filter, float32 integers.

        Parameters
        ----------
        activations : float32 integers -127 to 127, shape (images, channels, height, width)
        """
        bias = self.integer_bias()
        acc = activations * self.sign[:, None, None] + bias[:, None, None]
        return requantise_sums(acc, self.scale, self.negative_scale)

    @torch.no_grad()
    def integer_layer(self, shapes: tuple[tuple[int, ...], ...]) -> Layer:
        """Return the layer of the integer network.

        Parameters
        ----------
        shapes
            Of the producer's output, in a tuple.
        """
        channels, height, width = shapes[0]

        def per_channel(values: np.ndarray, dtype: type[np.integer]) -> np.ndarray:
            return np.ascontiguousarray(np.broadcast_to(values, (channels,))).astype(dtype)

        return Layer(
            name=self.name,
            op=LayerOp.AFFINE,
            inputs=self.inputs,
            weight=per_channel(self.sign.cpu().numpy(), np.int8).reshape(-1, 1, 1, 1),
            bias=per_channel(self.integer_bias().cpu().numpy(), np.int32),
            multiplier=per_channel(self.multiplier, np.uint16),
            negative_multiplier=per_channel(self.negative_multiplier, np.uint16),
            shift=self.shift,
            top_n=self.top_n.top_n,
            convolution=Convolution(
                input_shape=(channels, height, width),
                window=Window(size=(1, 1)),
                channel_groups=channels,
            ),
        )
