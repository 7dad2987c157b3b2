"""The recipe's pruning method on a run's network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jpnet_sw.quantisation import Captured, CapturedLayer, capture
from jpnet_sw.recipe.config import RecipeConfig
from jpnet_sw.recipe.epoch import seed_epoch
from jpnet_sw.sparsity.channels import channel_links, remove_channels
from jpnet_sw.sparsity.masks import WeightMasks
from jpnet_sw.sparsity.method import PruningMethod
from jpnet_sw.sparsity.methods import build_method
from jpnet_sw.sparsity.pruner import Pruner
from jpnet_sw.sparsity.target import PrunableLayer, PruningTarget

__all__ = ["begin_pruner", "check_choices", "masks_of", "without_channels"]


def masks_of(layers: Sequence[Captured]) -> WeightMasks:
    """Return masks of a float network's layers in which everything lives."""
    weights: dict[str, Tensor] = {
        layer.name: layer.linear.weight for layer in layers if isinstance(layer, CapturedLayer)
    }
    return WeightMasks(weights)


def _method(recipe: RecipeConfig, model: nn.Module, masks: WeightMasks) -> PruningMethod:
    prune = recipe.prune
    layers = tuple(
        PrunableLayer(name=layer.name, linear=layer.linear, norm=layer.norm)
        for layer in capture(model)
        if isinstance(layer, CapturedLayer)
    )
    names = [layer.name for layer in layers]
    target = PruningTarget(
        model=model,
        layers=layers,
        masks=masks,
        densities=recipe.layer_densities(names),
        rounds=prune.rounds,
        links=channel_links(model),
    )
    return build_method(prune.method, prune.options, target)


def check_choices(recipe: RecipeConfig, model: nn.Module, masks: WeightMasks) -> None:
    """Refuse a method, its options or modes of layers that do not fit a network.

    Raises
    ------
    ValueError
        If they do not.
    """
    with torch.random.fork_rng(devices=[]):
        _method(recipe, model, masks)
    filtered = [layer.name for layer in capture(model) if layer.top_n is not None]
    for name in recipe.top_n.layer_modes:
        if name not in filtered:
            raise ValueError(
                f"FilterConfig.layer_modes must name layers with a filter "
                f"({', '.join(filtered)}), not {name!r}"
            )


def begin_pruner(
    recipe: RecipeConfig,
    model: nn.Module,
    masks: WeightMasks,
    *,
    seed: int,
    device: torch.device,
) -> Pruner:
    """Return the recipe's method at work on a network; its random numbers are the seed's."""
    seed_epoch(seed, "method", 0)
    method = _method(recipe, model, masks).to(device)
    return Pruner(method, l1=recipe.prune.l1, l2=recipe.prune.l2)


def without_channels(pruner: Pruner, model: nn.Module, masks: WeightMasks) -> WeightMasks:
    """Return the masks after the method; channels that it cuts are removed from the network."""
    if not pruner.method.removes_channels:
        return masks
    smaller = remove_channels(model, pruner.method.target.links, masks.masks)
    found = masks_of(capture(model))
    found.load(smaller)
    return found
