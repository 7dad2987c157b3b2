"""What a pruning method is: a few hooks around the steps of the training loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.masks import WeightMasks
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.structure import Structure, group_scores
from jpnet_sw.sparsity.target import PrunableLayer, PruningTarget

__all__ = ["GroupOptions", "PruningMethod", "TrainedOptions", "slot"]


def slot(name: str) -> str:
    """Return a layer's name as a torch module can use it for a parameter or buffer."""
    return name.replace(".", "/")


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupOptions(MethodOptions):
    """Options of methods that prune weights or filters, as one likes."""

    structure: Structure = option(Structure.ELEMENT, "what lives and dies together")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedOptions(MethodOptions):
    """Options of methods with parameters that are trained with the weights."""

    gate_rate: float = option(
        10.0, "learning rate of the method's parameters over that of the weights", low=0
    )


class PruningMethod(nn.Module):
    """Base of all methods: every hook does nothing, a method overrides the few that it needs.

    Hooks are called in the active part of the pruning stage, all but `penalty` without gradients.
    Parameters are trained with the network's; parameters and buffers are in the checkpoint, and
    nothing else may change.

    Parameters
    ----------
    target
        What it works on.
    options
        Of the class `Options`.

    Raises
    ------
    ValueError
        If options do not fit the network.
    """

    SUMMARY: ClassVar[str]
    """One line."""
    SOURCE: ClassVar[str]
    """Where the method was published."""
    Options: ClassVar[type[MethodOptions]] = MethodOptions

    UNUSED: ClassVar[frozenset[str]] = frozenset()
    """Options of the pruning stage that it has no use for; they are refused."""

    options: MethodOptions

    def __init__(self, target: PruningTarget, options: MethodOptions) -> None:
        super().__init__()
        self.target = target
        self.options = options
        self._handles: list[RemovableHandle] = []
        self.prepare()

    def prepare(self) -> None:
        """Register parameters and buffers, and refuse options that do not fit the network."""

    # What kind of method it is

    @property
    def structure(self) -> Structure:
        """What lives and dies together."""
        options = self.options
        return options.structure if isinstance(options, GroupOptions) else Structure.ELEMENT

    @property
    def removes_channels(self) -> bool:
        """Whether channels without living weights are 0 and leave the network after the stage."""
        return self.structure is Structure.FILTER

    @property
    def hides(self) -> bool:
        """Whether dead weights are kept where the network does not see them, and may return."""
        return False

    @property
    def gate_rate(self) -> float:
        """Learning rate of the method's parameters over that of the weights."""
        return self.options.gate_rate if isinstance(self.options, TrainedOptions) else 1.0

    @property
    def rounds(self) -> int:
        """How often `begin_round` is called, see `round_begun`."""
        return self.target.rounds

    @property
    def done(self) -> bool:
        """Whether the masks are final before the active part is over."""
        return False

    # What it sees

    @property
    def masks(self) -> WeightMasks:
        """The masks of the target."""
        return self.target.masks

    @property
    def layers(self) -> tuple[PrunableLayer, ...]:
        """The layers that it prunes."""
        return self.target.prunable(self.structure)

    def magnitudes(self) -> dict[str, Tensor]:
        """Return each layer's magnitudes, the hidden weights' too; of a filter their mean."""
        return {
            layer.name: group_scores(self.masks.dense(layer.name).abs(), self.structure)
            for layer in self.layers
        }

    # What it remembers

    def keep(self, kind: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Register one buffer per layer and return them by layer name."""
        for name, value in values.items():
            self.register_buffer(f"{kind}:{slot(name)}", value)
        return {name: self.get_buffer(f"{kind}:{slot(name)}") for name in values}

    def keep_per_layer(self, kind: str, start: float = 0.0) -> dict[str, Tensor]:
        """Register a number per layer, see `keep`; flags too, as files hold no booleans."""
        return self.keep(
            kind, {layer.name: layer.linear.weight.new_full((), start) for layer in self.layers}
        )

    def keep_per_group(self, kind: str, start: float = 0.0) -> dict[str, Tensor]:
        """Register a number per group of weights, see `keep`."""
        groups = self.magnitudes().items()
        return self.keep(kind, {name: torch.full_like(score, start) for name, score in groups})

    def keep_one(self, name: str, start: Tensor) -> Tensor:
        """Register a single buffer, on the network's device, and return it."""
        self.register_buffer(name, start.to(self.target.device))
        return self.get_buffer(name)

    def learn(self, kind: str, key: str, start: Tensor) -> nn.Parameter:
        """Register a tensor that is trained with the network, on its device, and return it."""
        parameter = nn.Parameter(start.to(self.target.device))
        self.register_parameter(f"{kind}:{slot(key)}", parameter)
        return parameter

    # Hooks

    def attach(self) -> None:
        """Change the network's forward pass, before the first step or after a resumption."""

    def hook(self, handle: RemovableHandle) -> None:
        """Keep a hook of the network's modules until `detach`."""
        self._handles.append(handle)

    def detach(self) -> None:
        """Remove all hooks of the network's modules."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def learning_rate(self, scheduled: float, clock: Clock) -> float:
        """Return the learning rate of a step, by default the stage's schedule."""
        return scheduled

    def before_step(self, clock: Clock) -> None:
        """Act before a step's forward pass."""

    def round_begun(self, clock: Clock) -> float | None:
        """Return the share of rounds that have begun if one begins with a step, else None.

        By default there are `rounds`, evenly spread over the active part.
        """
        return clock.round_begun(self.rounds)

    def begin_round(self, done: float) -> None:
        """Act where a round begins, after `before_step`.

        Parameters
        ----------
        done
            What `round_begun` returned, this round included; 1 in the last.
        """

    def penalty(self, clock: Clock) -> Tensor | None:
        """Return what is added to the loss of a step, if anything."""
        return None

    def after_backward(self, clock: Clock) -> None:
        """Act on the gradients of a step; by default on those of the weights, layer by layer."""
        for layer in self.layers:
            if layer.linear.weight.grad is not None:
                self.on_gradient(layer, layer.linear.weight.grad)

    def on_gradient(self, layer: PrunableLayer, gradient: Tensor) -> None:
        """Read the gradient of a layer's weights, or change it in place."""

    def after_step(self, clock: Clock) -> None:
        """Act on the weights that the optimiser has moved, before the masks are applied."""

    def final_masks(self) -> Mapping[str, Tensor]:
        """Return the final masks, of weights or groups, where they are not what they were."""
        return {}

    def finalise(self) -> None:
        """Make the masks final."""
        if self.removes_channels:
            self.target.mask_filters(self.final_masks())
        else:
            self.masks.set(self.final_masks())

    def facts(self) -> dict[str, Any]:
        """Return what is worth recording, as plain values."""
        return {}
