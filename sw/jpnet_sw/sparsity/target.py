"""What a pruning method works on: layers with weights, their masks, what is wanted of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jpnet_sw.sparsity.channels import ChannelLink, mask_dead_channels
from jpnet_sw.sparsity.clock import cubic_density
from jpnet_sw.sparsity.masks import WeightMasks
from jpnet_sw.sparsity.options import MethodOptions
from jpnet_sw.sparsity.structure import Structure

__all__ = ["PrunableLayer", "PruningTarget"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PrunableLayer:
    """A layer with weights.

    Parameters
    ----------
    name
        Of the linear module.
    linear
        Weights and bias.
    norm
        Batch normalisation of its sums, or None.
    """

    name: str
    linear: nn.Linear | nn.Conv2d
    norm: nn.BatchNorm2d | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PruningTarget:
    """What a method works on.

    Parameters
    ----------
    model
        The network.
    layers
        Those with weights, in execution order.
    masks
        Of their weights.
    densities
        Final share of living weights (of filters, where filters are pruned), per layer.
    rounds
        How often masks are tightened, for methods that do so.
    links
        Of the layers whose output channels can be removed.
    """

    model: nn.Module
    layers: tuple[PrunableLayer, ...]
    masks: WeightMasks
    densities: Mapping[str, float]
    rounds: int
    links: Mapping[str, ChannelLink]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.layers[0].linear.weight.device

    def prunable(self, structure: Structure) -> tuple[PrunableLayer, ...]:
        """Return the layers that may lose groups of a structure."""
        if structure is Structure.ELEMENT:
            return self.layers
        return tuple(layer for layer in self.layers if layer.name in self.links)

    def tie_filters(self) -> None:
        """Let a channel without living weights be 0: without bias and normalisation."""
        for layer in self.prunable(Structure.FILTER):
            owners = (layer.linear, layer.norm) if layer.norm is not None else (layer.linear,)
            vectors = [
                vector
                for owner in owners
                for vector in owner.parameters(recurse=False)
                if vector.ndim == 1
            ]
            self.masks.tie_rows(layer.name, vectors)

    def mask_filters(self, masks: Mapping[str, Tensor]) -> None:
        """Take over masks of filters, which are tied, and mask what only the dead feed or read."""
        self.masks.set(masks)
        self.masks.set(mask_dead_channels(self.links, self.masks.masks))

    def densities_at(self, done: float) -> dict[str, float]:
        """Return each layer's density when a share of the rounds is done: a cubic curve."""
        return {name: cubic_density(final, done) for name, final in self.densities.items()}

    def per_layer(self, owner: MethodOptions, name: str) -> dict[str, float]:
        """Return an option's value for each layer.

        Raises
        ------
        ValueError
            If it has neither one value nor one for each layer.
        """
        values = getattr(owner, name)
        if len(values) not in (1, len(self.layers)):
            raise ValueError(
                f"{type(owner).__name__}.{name} must be 1 number or {len(self.layers)}, "
                f"one for each layer, not {len(values)}"
            )
        given = values * len(self.layers) if len(values) == 1 else values
        return {layer.name: given[index] for index, layer in enumerate(self.layers)}
