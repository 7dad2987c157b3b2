"""Random factors on channels: where they sit, how they are hooked in and folded away."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from jpnet_sw.sparsity.method import PrunableLayer, PruningMethod, PruningTarget, slot
from jpnet_sw.sparsity.options import MethodOptions

__all__ = ["GateMethod", "GateSite"]


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
    channels with the factor 0 are cut.

    Parameters
    ----------
    target
        What it works on.
    options
        With an option `gate_rate`.
    sites
        Where the factors are.
    """

    def __init__(
        self, target: PruningTarget, options: MethodOptions, sites: tuple[GateSite, ...]
    ) -> None:
        super().__init__(target, options)
        self.sites = sites
        self._handles: list[RemovableHandle] = []

    @property
    def removes_channels(self) -> bool:
        """Always: factors belong to channels."""
        return True

    def draw(self, site: GateSite, images: int) -> Tensor:
        """Return random factors, shape (images, size) or (1, size)."""
        raise NotImplementedError

    def certain(self, site: GateSite) -> Tensor:
        """Return the factors of evaluation, shape (size,); 0 cuts."""
        raise NotImplementedError

    def attach(self) -> None:
        """Multiply by the factors from now on."""
        for site in self.sites:
            self._handles.append(site.hook(lambda tensor, site=site: self._gate(site, tensor)))

    def _gate(self, site: GateSite, tensor: Tensor) -> Tensor:
        training = site.layer.linear.training
        factors = self.draw(site, len(tensor)) if training else self.certain(site)[None]
        return factors.reshape(*factors.shape, *(1,) * (tensor.ndim - 2)).to(tensor.dtype)

    def detach(self) -> None:
        """Multiply no more."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @torch.no_grad()
    def finalise(self) -> None:
        """Fold the factors into the weights and cut where they are 0."""
        masks: dict[str, Tensor] = {}
        for site in self.sites:
            mask = site.fold(self.certain(site))
            masks[site.name] = mask * masks.get(site.name, 1)
        self.target.mask_filters(masks)

    def new_parameter(self, kind: str, site: GateSite, values: Tensor) -> nn.Parameter:
        """Register a trained tensor of a site."""
        parameter = nn.Parameter(values.to(site.layer.linear.weight.device))
        self.register_parameter(f"{kind}:{site.key}", parameter)
        return parameter
