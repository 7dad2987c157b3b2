"""A layer's sums with other weights than its own."""

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["products"]


def products(
    layer: nn.Module, inputs: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return the sums of a layer with other weights, of `measure_density`'s kinds of layer."""
    if isinstance(layer, nn.Linear):
        return functional.linear(inputs, weight, bias)
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(
            inputs, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )
    found: Tensor = layer.products(inputs, weight)  # type: ignore[operator]
    return found
