"""Densities and effective MACs of a torch network, for progress and choices while training."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jpnet_sw.sparsity.products import products

__all__ = ["LayerDensity", "measure_density"]

_BATCH = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerDensity:
    """Counts of one layer.

    Parameters
    ----------
    name
        The module's name.
    weight
        Share of non-zero weights.
    activation
        Share of non-zero input activations.
    macs_dense
        Products with nothing skipped.
    macs_effective
        Pairs of non-zero weight and non-zero input activation, mean per image.
    """

    name: str
    weight: float
    activation: float
    macs_dense: int
    macs_effective: float


@torch.no_grad()
def measure_density(
    model: nn.Module,
    images: Tensor,
    *,
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d),
) -> list[LayerDensity]:
    """Count every layer's non-zero weights, inputs and pairs in forward passes.

    Parameters
    ----------
    model
        Evaluated, not trained.
    images : float32, shape (images, channels, height, width)
        At least one.
    kinds
        Module types that count as layers; each is Linear or Conv2d, or has a ``weight`` and a
        method ``products(inputs, weight)`` that returns its sums with another weight.
    """
    layers = [module for module in model.modules() if isinstance(module, kinds)]
    active: dict[nn.Module, Tensor] = {}

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found = (inputs[0] != 0).float().sum(dim=0)
        active[module] = active[module] + found if module in active else found

    handles = [layer.register_forward_pre_hook(count) for layer in layers]
    training = model.training
    model.eval()
    try:
        for first in range(0, len(images), _BATCH):
            model(images[first : first + _BATCH])
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    names = {module: name for name, module in model.named_modules()}
    return [
        _density(str(getattr(layer, "name", names[layer])), layer, active[layer] / len(images))
        for layer in layers
    ]


def _density(name: str, layer: nn.Module, active: Tensor) -> LayerDensity:
    weight = layer.get_parameter("weight")
    living = (weight != 0).float()
    # How many products each input takes part in is the gradient of the sum of all outputs.
    with torch.enable_grad():
        ones = torch.ones_like(active)[None].requires_grad_()
        sums = products(layer, ones, living)
        (reach,) = torch.autograd.grad(sums.sum(), ones)
    return LayerDensity(
        name=name,
        weight=float(living.mean()),
        activation=float(active.mean()),
        macs_dense=weight.numel() * sums[0].numel() // len(weight),
        macs_effective=float((active * reach[0]).sum()),
    )
