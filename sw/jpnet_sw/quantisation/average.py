"""Average pooling, in float and in the integer arithmetic of the specification."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from jpnet_spec.convolution import Convolution
from jpnet_spec.layer import Layer, LayerOp
from jpnet_spec.numbers import choose_multipliers
from jpnet_spec.window import Window
from jpnet_sw.quantisation.arithmetic import exact_scale, requantise_sums
from jpnet_sw.quantisation.geometry import average_window
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["CapturedAverage", "QuantisedAverage"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CapturedAverage:
    """An average pooling with what is fused into it.

    Parameters
    ----------
    name
        Name of the pooling module.
    inputs
        Name of the producer.
    average
        The pooling; an adaptive one takes the whole map.
    top_n
        The filter of the output, or None.
    dropout
        Used in training only, or None.
    """

    name: str
    inputs: tuple[str, ...]
    average: nn.AvgPool2d | nn.AdaptiveAvgPool2d
    top_n: TopNFilter | None = None
    dropout: nn.Dropout | None = None

    @property
    def multiplies(self) -> bool:
        """Whether it takes survivors."""
        return True

    @property
    def spatial(self) -> bool:
        """Whether it takes maps."""
        return True

    def window(self, input_shape: tuple[int, ...]) -> Window:
        """Return the window over maps of a shape."""
        return average_window(self.average, (input_shape[1], input_shape[2]))

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one image's output tensor."""
        window = self.window(input_shape)
        return (input_shape[0], *window.output_size(input_shape[1], input_shape[2]))

    def sums_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one image's sums."""
        return self.output_shape(input_shape)

    def tensor(self, activations: Tensor) -> Tensor:
        """Return the averages before the filter."""
        averages: Tensor = self.average(activations)
        return averages

    def pooled(self, survivors: Tensor) -> Tensor:
        """Return a tensor as it is passed on."""
        return survivors


class QuantisedAverage(nn.Module):
    """An average pooling in integer arithmetic: exact sums, one rounding, filter.

    Parameters
    ----------
    layer
        Window, filter and dropout.
    input_scale, output_scale
        Value of one step of the input and output activations.
    """

    def __init__(self, layer: CapturedAverage, *, input_scale: float, output_scale: float) -> None:
        super().__init__()
        self.name = layer.name
        self.inputs = layer.inputs
        self.multiplies = True
        self.layer = layer
        self.input_scale = input_scale
        self.output_scale = output_scale
        self.top_n = TopNFilter(
            layer.top_n.top_n if layer.top_n is not None else None, integers=True
        )
        self.dropout = nn.Dropout(layer.dropout.p if layer.dropout is not None else 0.0)

    def _multiplier(self, window: Window) -> tuple[np.uint16, int]:
        area = window.size[0] * window.size[1]
        multipliers, shift = choose_multipliers([self.input_scale / (self.output_scale * area)])
        return multipliers[0], shift

    def forward(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        """Return the averages as they are stored, and as they are passed on.

        Parameters
        ----------
        activations : float32 integers -127 to 127, shape (images, channels, height, width)
        """
        averages = self.tensor(activations)
        return averages, self.dropout(self.top_n(averages))

    def tensor(self, activations: Tensor) -> Tensor:
        """Return the averages before the filter, float32 integers.

        Parameters
        ----------
        activations : float32 integers -127 to 127, shape (images, channels, height, width)
        """
        window = self.layer.window(tuple(activations.shape[1:]))
        top, _, left, _ = window.padding
        sums = functional.avg_pool2d(
            activations, window.size, window.stride, (top, left), divisor_override=1
        )
        multiplier, shift = self._multiplier(window)
        scale = exact_scale(np.array([multiplier]), shift).to(sums.device)
        return requantise_sums(sums, scale, scale)

    def integer_layer(self, shapes: tuple[tuple[int, ...], ...]) -> Layer:
        """Return the layer of the integer network.

        Parameters
        ----------
        shapes
            Of the producer's output, in a tuple.
        """
        channels, height, width = shapes[0]
        window = self.layer.window(shapes[0])
        multiplier, shift = self._multiplier(window)
        multipliers = np.full(channels, multiplier, dtype=np.uint16)
        return Layer(
            name=self.name,
            op=LayerOp.AVERAGE_POOL,
            inputs=self.inputs,
            weight=np.ones((channels, 1, *window.size), dtype=np.int8),
            bias=np.zeros(channels, dtype=np.int32),
            multiplier=multipliers,
            negative_multiplier=multipliers,
            shift=shift,
            top_n=self.top_n.top_n,
            convolution=Convolution(
                input_shape=(channels, height, width), window=window, channel_groups=channels
            ),
        )
