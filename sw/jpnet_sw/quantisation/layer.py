"""A layer with weights in the integer arithmetic of the specification."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from jpnet_spec.layer import Layer, LayerOp
from jpnet_spec.numbers import INT8_MAX, choose_multipliers
from jpnet_spec.shortcut import Shortcut, ShortcutKind
from jpnet_sw.quantisation.arithmetic import (
    EXACT_SUM,
    add_and_requantise,
    exact_scale,
    requantise_sums,
    round_clamp,
)
from jpnet_sw.quantisation.captured import CapturedLayer
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["QuantisedLayer"]


class QuantisedLayer(nn.Module):
    """One layer in integer arithmetic: exact sums, requantisation, filter.

    A residual one adds its shortcut's integers, times a constant, before the one rounding.

    Weights and biases are float parameters; the forward pass rounds them to int8 and int32. All
    scales are constants: the weight scale of a channel is what its multiplier says exactly.

    Parameters
    ----------
    layer
        Weights to start from, activation function, filter and dropout.
    input_scale, output_scale
        Value of one step of the input and output activations.
    carried_scale
        Value of one step of the shortcut's tensor; None unless the layer is residual.

    Raises
    ------
    ValueError
        If a scale is not positive.
    """

    scale: Tensor
    negative_scale: Tensor
    weight_scale: Tensor

    def __init__(
        self,
        layer: CapturedLayer,
        *,
        input_scale: float,
        output_scale: float,
        carried_scale: float | None = None,
    ) -> None:
        super().__init__()
        for name, scale in (("input_scale", input_scale), ("output_scale", output_scale)):
            if not scale > 0:
                raise ValueError(f"QuantisedLayer.{name} must be positive, not {scale!r}")
        self.name = layer.name
        self.inputs = layer.inputs
        self.multiplies = True
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
        scales = wanted.tolist()
        if carried_scale is not None:
            area = 1 if layer.shortcut is None else layer.shortcut.area
            scales.append(carried_scale / (output_scale * area))
        multipliers, self.shift = choose_multipliers(scales)
        self.multiplier, self.carried_multiplier = multipliers[: len(wanted)], int(multipliers[-1])
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

    def forward(self, activations: Tensor, carried: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the activations as they are stored, and as they are passed on.

        Parameters
        ----------
        activations : float32 integers -127 to 127, shape (images, ...)
        carried : float32 integers -127 to 127, shape (images, channels, height, width)
            The shortcut's tensor; None unless the layer is residual.

        Returns
        -------
        float32 integers, shape (images, oc) or (images, oc, rows, columns)
            Pooled; the latter filtered and, in training, scaled by dropout.
        """
        tensor = self.tensor(activations, carried)
        survivors = self.dropout(self.layer.pooled(self.top_n(tensor)))
        return self.layer.pooled(tensor), survivors

    def tensor(self, activations: Tensor, carried: Tensor | None = None) -> Tensor:
        """Return the requantised sums, before filter and pooling, float32 integers.

        Parameters
        ----------
        activations, carried
            See `forward`.
        """
        acc = self.layer.sums(activations, self.integer_weight(), self.integer_bias())
        if carried is None:
            return requantise_sums(acc, self.scale, self.negative_scale)
        shortcut = self.layer.shortcut
        return add_and_requantise(
            acc,
            carried if shortcut is None else shortcut.sums(carried),
            scale=self.scale,
            addend_scale=self.carried_multiplier * 2.0**-self.shift,
            rectify=self.layer.negative_slope == 0,
        )

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
    def integer_layer(self, shapes: tuple[tuple[int, ...], ...]) -> Layer:
        """Return the layer of the integer network.

        Parameters
        ----------
        shapes
            Of the producers' outputs.

        Raises
        ------
        ValueError
            If shapes do not fit, or sums could leave what training computes exactly.
        """
        self.check_exact()
        convolution = self.layer.convolution(shapes[0])
        return Layer(
            name=self.name,
            op=LayerOp.FULLY_CONNECTED if convolution is None else LayerOp.CONVOLUTION,
            inputs=self.inputs,
            weight=self.integer_weight().cpu().numpy().astype(np.int8),
            bias=self.integer_bias().cpu().numpy().astype(np.int32),
            multiplier=self.multiplier,
            negative_multiplier=self.negative_multiplier,
            shift=self.shift,
            top_n=self.top_n.top_n,
            convolution=convolution,
            pool=self.layer.window(shapes[0]),
            shortcut=self._shortcut(shapes[1]) if self.layer.residual else None,
        )

    def _shortcut(self, shape: tuple[int, ...]) -> Shortcut:
        channels, height, width = shape
        made = Shortcut(input_shape=(channels, height, width), multiplier=self.carried_multiplier)
        module = self.layer.shortcut
        if module is None:
            return made
        return replace(
            made,
            kind=module.kind if module.stride > 1 else ShortcutKind.SUBSAMPLE,
            stride=module.stride,
            first_channel=module.first_channel,
        )
