"""A layer with weights as it was read from a torch model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from jpnet_spec.convolution import Convolution
from jpnet_spec.window import Window
from jpnet_sw.models.residual import Shortcut
from jpnet_sw.quantisation.geometry import convolution_of, pool_window
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["CapturedLayer"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CapturedLayer:
    """One layer with everything that is fused into it.

    Parameters
    ----------
    name
        Name of the linear module.
    inputs
        Names of the producers: of what is multiplied and, in a residual layer, of the shortcut.
    linear
        Weights and bias.
    norm
        Batch normalisation of the sums, or None.
    shortcut
        How the second input becomes what is added to the sums; None adds it as it is.
    negative_slope
        Of the activation function: 0 for ReLU, 1 for the identity.
    top_n
        The filter of the output, or None.
    pool
        Max pooling after the filter, or None.
    dropout
        Used in training only, or None.
    """

    name: str
    inputs: tuple[str, ...]
    linear: nn.Linear | nn.Conv2d
    norm: nn.BatchNorm2d | None = None
    shortcut: Shortcut | None = None
    negative_slope: float = 1.0
    top_n: TopNFilter | None = None
    pool: nn.MaxPool2d | None = None
    dropout: nn.Dropout | None = None

    @property
    def multiplies(self) -> bool:
        """Whether it takes survivors."""
        return True

    @property
    def spatial(self) -> bool:
        """Whether it takes maps."""
        return isinstance(self.linear, nn.Conv2d)

    @property
    def residual(self) -> bool:
        """Whether another tensor is added to the sums."""
        return len(self.inputs) > 1

    @torch.no_grad()
    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias with the batch normalisation, as evaluated, folded into them."""
        weight = self.linear.weight.detach()
        bias = weight.new_zeros(len(weight)) if self.linear.bias is None else self.linear.bias
        if self.norm is None:
            return weight, bias.detach()
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        folded = weight * scale[:, None, None, None]
        return folded, self.norm.bias + (bias - self.norm.running_mean) * scale

    def sums(self, activations: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the linear module's output with other weights.

        Parameters
        ----------
        activations : shape (images, ...)
            Flattened where fully connected.
        weight, bias
            Of the module's shapes.
        """
        if isinstance(self.linear, nn.Linear):
            return functional.linear(activations.flatten(start_dim=1), weight, bias)
        conv = self.linear
        return functional.conv2d(
            activations, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )

    def tensor(self, activations: Tensor, carried: Tensor | None = None) -> Tensor:
        """Return the activations, in float and evaluated, before filter and pooling.

        Parameters
        ----------
        activations : shape (images, ...)
        carried
            The shortcut's tensor; None unless `residual`.
        """
        sums = self.sums(activations, *self.folded())
        if carried is not None:
            sums = sums + (carried if self.shortcut is None else self.shortcut(carried))
        return functional.leaky_relu(sums, self.negative_slope)

    def pooled(self, survivors: Tensor) -> Tensor:
        """Return a tensor, filtered or not, after max pooling."""
        if self.pool is None:
            return survivors
        pooled: Tensor = self.pool(survivors)
        return pooled

    def convolution(self, input_shape: tuple[int, ...]) -> Convolution | None:
        """Return what the integer network convolves, None where fully connected."""
        if isinstance(self.linear, nn.Linear):
            return None
        try:
            return convolution_of(self.linear, input_shape)
        except ValueError as error:
            raise ValueError(f"layer {self.name!r}: {error}") from error

    def sums_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one image's sums, before pooling."""
        convolution = self.convolution(input_shape)
        positions = () if convolution is None else convolution.output_size
        return (len(self.linear.weight), *positions)

    def window(self, input_shape: tuple[int, ...]) -> Window | None:
        """Return the window of the max pooling."""
        if self.pool is None:
            return None
        return pool_window(self.pool, self.sums_shape(input_shape)[1:])

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one image's output tensor."""
        sums_shape, window = self.sums_shape(input_shape), self.window(input_shape)
        if window is None:
            return sums_shape
        return (sums_shape[0], *window.output_size(*sums_shape[1:]))
