"""Densities and effective MACs of a torch network, for progress and choices while training."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["LayerDensity", "measure_density"]


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
    macs_effective
        Pairs of non-zero weight and non-zero input activation, mean per image.
    """

    name: str
    weight: float
    activation: float
    macs_effective: float


@torch.no_grad()
def measure_density(
    model: nn.Module, images: Tensor, *, kinds: tuple[type[nn.Module], ...] = (nn.Linear,)
) -> list[LayerDensity]:
    """Count every layer's non-zero weights, inputs and pairs in one forward pass.

    Parameters
    ----------
    model
        Evaluated, not trained.
    images : float32, shape (images, channels, height, width)
    kinds
        Module types that count as layers; each has a ``weight`` of shape (oc, ic).
    """
    found: list[LayerDensity] = []
    names = {module: name for name, module in model.named_modules()}

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        weight = module.get_parameter("weight")
        living = (weight != 0).float()
        active = (inputs[0] != 0).float()
        found.append(
            LayerDensity(
                name=str(getattr(module, "name", names[module])),
                weight=float(living.mean()),
                activation=float(active.mean()),
                macs_effective=float((active.mean(dim=0) * living.sum(dim=0)).sum()),
            )
        )

    layers = [module for module in model.modules() if isinstance(module, kinds)]
    handles = [layer.register_forward_pre_hook(count) for layer in layers]
    training = model.training
    model.eval()
    try:
        model(images)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found
