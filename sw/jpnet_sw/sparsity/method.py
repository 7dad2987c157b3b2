"""What a pruning method is: a few hooks around the steps of the training loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from jpnet_sw.sparsity.channels import ChannelLink, mask_dead_channels
from jpnet_sw.sparsity.clock import Clock, cubic_density
from jpnet_sw.sparsity.masks import WeightMasks
from jpnet_sw.sparsity.options import MethodOptions
from jpnet_sw.sparsity.structure import Structure

__all__ = ["PrunableLayer", "PruningMethod", "PruningTarget", "slot"]


def slot(name: str) -> str:
    """Return a layer's name as a torch module can use it for a parameter or buffer."""
    return name.replace(".", "/")


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
        """Take over final masks of whole filters, and mask what only they feed or read."""
        self.tie_filters()
        self.masks.set(mask_dead_channels(self.links, {**self.masks.masks, **masks}))

    def round_densities(self, clock: Clock) -> dict[str, float] | None:
        """Return the densities of the round that begins with a step, None if none does."""
        done = clock.round_begun(self.rounds)
        if done is None:
            return None
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


class PruningMethod(nn.Module):
    """Base of all methods.

    Hooks are called in the active part of the pruning stage. Parameters are trained with the
    network's; parameters and buffers are in the checkpoint, and nothing else may change.

    Parameters
    ----------
    target
        What it works on.
    options
        Of the class `Options`.
    """

    SUMMARY: ClassVar[str]
    """One line."""
    SOURCE: ClassVar[str]
    """Where the method was published."""
    Options: ClassVar[type[MethodOptions]] = MethodOptions

    def __init__(self, target: PruningTarget, options: MethodOptions) -> None:
        super().__init__()
        self.target = target

    @property
    def masks(self) -> WeightMasks:
        """The masks of the target."""
        return self.target.masks

    @property
    def removes_channels(self) -> bool:
        """Whether channels without living weights are 0 and leave the network after the stage."""
        return False

    @property
    def done(self) -> bool:
        """Whether the masks are final before the active part is over."""
        return False

    @property
    def gate_rate(self) -> float:
        """Learning rate of the method's parameters over that of the weights."""
        return 1.0

    def buffers_of(self, kind: str) -> dict[str, Tensor]:
        """Return one kind of buffer by layer name, see `keep`."""
        return {layer.name: self.get_buffer(f"{kind}:{slot(layer.name)}") for layer in self.layers}

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The layers of the target."""
        return self.target.layers

    def keep(self, kind: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Register one buffer per layer and return them by layer name."""
        for name, value in values.items():
            self.register_buffer(f"{kind}:{slot(name)}", value)
        return {name: self.get_buffer(f"{kind}:{slot(name)}") for name in values}

    def attach(self) -> None:
        """Change the network's forward pass, before the first step or after a resumption."""

    def detach(self) -> None:
        """Undo `attach`."""

    def learning_rate(self, scheduled: float, clock: Clock) -> float:
        """Return the learning rate of a step, by default the stage's schedule."""
        return scheduled

    def before_step(self, clock: Clock) -> None:
        """Act before a step's forward pass."""

    def penalty(self, clock: Clock) -> Tensor | None:
        """Return what is added to the loss of a step, if anything."""
        return None

    def after_backward(self, clock: Clock) -> None:
        """Act on the gradients of a step."""

    def after_step(self, clock: Clock) -> None:
        """Act on the weights that the optimiser has moved, before the masks are applied."""

    @torch.no_grad()
    def finalise(self) -> None:
        """Make the masks final."""

    def facts(self) -> dict[str, Any]:
        """Return what is worth recording, as plain values."""
        return {}
