"""Read a torch model as a chain of layers that the integer network can express."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from jpnet_spec.convolution import Convolution
from jpnet_spec.window import Window
from jpnet_sw.quantisation.average import CapturedAverage
from jpnet_sw.quantisation.geometry import (
    check_average,
    check_convolution,
    check_pool,
    convolution_of,
    pool_window,
)
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["Captured", "CapturedLayer", "capture"]

_ORDER = (
    "Linear, Conv2d or AvgPool2d, BatchNorm2d, ReLU or LeakyReLU, TopNFilter, MaxPool2d, Dropout"
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CapturedLayer:
    """One layer with everything that is fused into it.

    Parameters
    ----------
    name
        Name of the linear module.
    linear
        Weights and bias.
    norm
        Batch normalisation of the sums, or None.
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
    linear: nn.Linear | nn.Conv2d
    norm: nn.BatchNorm2d | None = None
    negative_slope: float = 1.0
    top_n: TopNFilter | None = None
    pool: nn.MaxPool2d | None = None
    dropout: nn.Dropout | None = None

    @property
    def spatial(self) -> bool:
        """Whether it takes maps."""
        return isinstance(self.linear, nn.Conv2d)

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

    def survivors(self, activations: Tensor) -> Tensor:
        """Return the filtered activations, in float and evaluated, before pooling."""
        sums = self.sums(activations, *self.folded())
        active = functional.leaky_relu(sums, self.negative_slope)
        return active if self.top_n is None else self.top_n(active)

    def pooled(self, survivors: Tensor) -> Tensor:
        """Return what the next layer takes."""
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


Captured = CapturedLayer | CapturedAverage
"""Every kind of layer."""

_FUSED = (nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, TopNFilter, nn.MaxPool2d, nn.Dropout)


def capture(model: nn.Module) -> list[Captured]:
    """Return the layers of a model in execution order.

    Parameters
    ----------
    model
        A chain of Linear, Conv2d, AvgPool2d, AdaptiveAvgPool2d, BatchNorm2d, ReLU, LeakyReLU,
        TopNFilter, MaxPool2d, Flatten and Dropout modules.

    Raises
    ------
    ValueError
        If a module is of another type or has settings that the integer network cannot express, or
        follows one that it cannot be fused with.
    """
    layers: list[Captured] = []
    flat = False
    for name, module in model.named_children():
        if isinstance(module, nn.Flatten):
            flat = True
        elif isinstance(module, _FUSED):
            if not layers:
                raise ValueError(
                    f"layer {name!r} must follow a Linear or Conv2d layer, not begin the model"
                )
            layers[-1] = _fuse(layers[-1], name, module)
        else:
            layers.append(_begin(name, module, flat=flat, first=not layers))
            flat = not layers[-1].spatial
    if not any(isinstance(layer, CapturedLayer) for layer in layers):
        raise ValueError("model must have at least one Linear or Conv2d layer, not 0")
    return layers


def _begin(name: str, module: nn.Module, *, flat: bool, first: bool) -> Captured:
    """Return the layer that a module begins."""
    if isinstance(module, nn.Linear):
        if not flat and not first:
            raise ValueError(f"layer {name!r} must follow a Flatten, not maps")
        return CapturedLayer(name=name, linear=module)
    if not isinstance(module, nn.Conv2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        raise ValueError(
            f"layer {name!r} must be one of {_ORDER}, Flatten, not {type(module).__name__!r}"
        )
    if flat:
        raise ValueError(f"layer {name!r} must come before Flatten and Linear, not after")
    if isinstance(module, nn.Conv2d):
        check_convolution(name, module)
        return CapturedLayer(name=name, linear=module)
    check_average(name, module)
    return CapturedAverage(name=name, average=module)


def _fuse(layer: Captured, name: str, module: nn.Module) -> Captured:
    fused = _fuse_output(layer, name, module)
    if fused is None and isinstance(layer, CapturedLayer):
        fused = _fuse_sums(layer, name, module)
    if fused is None:
        raise ValueError(
            f"layer {name!r} must come in the order {_ORDER}, "
            f"not as {type(module).__name__!r} there"
        )
    return fused


def _fuse_output(layer: Captured, name: str, module: nn.Module) -> Captured | None:
    pool = layer.pool if isinstance(layer, CapturedLayer) else None
    if isinstance(module, nn.Dropout) and layer.dropout is None:
        return replace(layer, dropout=module)
    if isinstance(module, TopNFilter) and not _any(layer.top_n, pool, layer.dropout):
        return replace(layer, top_n=module)
    if (
        isinstance(module, nn.MaxPool2d)
        and isinstance(layer, CapturedLayer)
        and layer.spatial
        and not _any(pool, layer.dropout)
    ):
        check_pool(name, module)
        return replace(layer, pool=module)
    return None


def _fuse_sums(layer: CapturedLayer, name: str, module: nn.Module) -> CapturedLayer | None:
    if layer.negative_slope != 1 or _any(layer.top_n, layer.pool, layer.dropout):
        return None
    if isinstance(module, nn.ReLU):
        return replace(layer, negative_slope=0.0)
    if isinstance(module, nn.LeakyReLU):
        if not 0 <= module.negative_slope <= 1:
            raise ValueError(
                f"layer {name!r}: negative_slope must be between 0 and 1, "
                f"not {module.negative_slope!r}"
            )
        return replace(layer, negative_slope=float(module.negative_slope))
    if isinstance(module, nn.BatchNorm2d) and layer.spatial and layer.norm is None:
        return replace(layer, norm=module)
    return None


def _any(*modules: nn.Module | None) -> bool:
    return any(module is not None for module in modules)
