"""Random factors on channels: where they sit, how they are hooked in and folded away."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.method import PruningMethod, TrainedOptions, slot
from jpnet_sw.sparsity.options import option
from jpnet_sw.sparsity.target import PrunableLayer

__all__ = ["GateMethod", "GateOptions", "GateSite"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateOptions(TrainedOptions):
    """Options of methods with a factor per channel."""

    strength: tuple[float, ...] = option((1.0,), "weight of a factor's cost in the loss", low=0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GateSite:
    """A layer's inputs or outputs, each with a factor.

    Parameters
    ----------
    layer
        Whose channels they are.
    incoming
        Whether the factors are on its inputs, else on its sums after batch normalisation.
    """

    layer: PrunableLayer
    incoming: bool

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name

    @property
    def key(self) -> str:
        """Which site it is among those of all layers."""
        return f"{slot(self.name)}:{'in' if self.incoming else 'out'}"

    @property
    def size(self) -> int:
        """Number of factors."""
        weight = self.layer.linear.weight
        return weight.shape[1] if self.incoming else len(weight)

    def group_weights(self) -> int:
        """Return how many weights hang on one factor."""
        return self.layer.linear.weight.numel() // self.size

    def squares(self) -> Tensor:
        """Return the sum of the squared weights of each factor, shape (size,)."""
        squared = self.layer.linear.weight.square()
        return squared.sum(dim=0) if self.incoming else squared.flatten(start_dim=1).sum(dim=1)

    def hook(self, gate: Any) -> RemovableHandle:
        """Multiply by ``gate(tensor)`` in each forward pass."""
        if self.incoming:
            return self.layer.linear.register_forward_pre_hook(
                lambda module, inputs: (inputs[0] * gate(inputs[0]),)
            )
        owner = self.layer.linear if self.layer.norm is None else self.layer.norm
        return owner.register_forward_hook(lambda module, inputs, output: output * gate(output))

    def fold(self, factors: Tensor) -> Tensor:
        """Multiply the factors into the weights and return the mask of those that are not 0."""
        weight = self.layer.linear.weight
        if self.incoming:
            weight.mul_(factors)
            return (factors != 0).expand_as(weight).float()
        shaped = factors.reshape(-1, *(1,) * (weight.ndim - 1))
        norm, bias = self.layer.norm, self.layer.linear.bias
        if norm is None:
            weight.mul_(shaped)
            if bias is not None:
                bias.mul_(factors)
        else:
            norm.weight.mul_(factors)
            norm.bias.mul_(factors)
        return (shaped != 0).expand_as(weight).float()


class GateMethod(PruningMethod):
    """Base of methods with a random factor per channel, trained with the weights.

    Factors are drawn anew in every training step. At the end they are folded into the weights, and
    channels with the factor 0 are cut. The loss gains the costs of all factors.
    """

    UNUSED = frozenset({"densities", "rounds"})
    options: GateOptions

    def prepare(self) -> None:
        """Find where the factors are, and how much each layer's cost."""
        self.sites = tuple(self.find_sites())
        self.strength = self.target.per_layer(self.options, "strength")

    @property
    def removes_channels(self) -> bool:
        """Always: factors belong to channels."""
        return True

    def find_sites(self) -> Iterable[GateSite]:
        """Return where the factors are."""
        raise NotImplementedError

    def draw(self, site: GateSite, images: int) -> Tensor:
        """Return random factors, shape (images, size) or (1, size)."""
        raise NotImplementedError

    def certain(self, site: GateSite) -> Tensor:
        """Return the factors of evaluation, shape (size,); 0 cuts."""
        raise NotImplementedError

    def cost(self, site: GateSite) -> Tensor:
        """Return what a site's factors add to the loss."""
        raise NotImplementedError

    def penalty(self, clock: Clock) -> Tensor:
        """Return the costs of all sites."""
        return torch.stack([self.cost(site) for site in self.sites]).sum()

    def attach(self) -> None:
        """Multiply by the factors from now on."""
        for site in self.sites:
            self.hook(site.hook(lambda tensor, site=site: self.gate(site, tensor)))

    def gate(self, site: GateSite, tensor: Tensor) -> Tensor:
        """Return the factors in the form of the inputs or sums that they multiply."""
        training = site.layer.linear.training
        factors = self.draw(site, len(tensor)) if training else self.certain(site)[None]
        return factors.reshape(*factors.shape, *(1,) * (tensor.ndim - 2)).to(tensor.dtype)

    def final_masks(self) -> dict[str, Tensor]:
        """Fold the factors into the weights, and cut where they are 0."""
        masks: dict[str, Tensor] = {}
        for site in self.sites:
            mask = site.fold(self.certain(site))
            masks[site.name] = mask * masks.get(site.name, 1)
        return masks
