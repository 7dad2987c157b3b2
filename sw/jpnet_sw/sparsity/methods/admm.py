"""ADMM: the weights are drawn towards their own projection onto the sparse set."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import torch
from torch import Tensor

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.method import PruningMethod, PruningTarget
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.selector import kept_count, largest
from jpnet_sw.sparsity.structure import balanced_mask, block_max_mask, block_sizes

__all__ = ["Admm", "AdmmOptions", "Projection"]


class Projection(StrEnum):
    """The set onto which ADMM projects."""

    COUNT = "count"
    """The layer's number of living weights, anywhere."""
    DARB = "darb"
    """One weight in each block, block sizes by row."""
    LANES = "lanes"
    """The same number in every output channel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmmOptions(MethodOptions):
    """Options of `Admm`."""

    iterations: int = option(10, "updates of projection and dual variable", low=1)
    rho: float = option(1e-2, "weight of the distance to the projection", low=0)
    projection: Projection = option(Projection.COUNT, "what the weights are projected onto")


class Admm(PruningMethod):
    """Adds ``rho / 2 * ||W - Z + U||^2`` to the loss, Z the projection of W + U, U the dual.

    At the end the weights are projected. The distance ``||W - Z|| / ||W||`` after each iteration is
    recorded: it must shrink, else rho is too small.
    """

    SUMMARY: ClassVar[str] = "weights are drawn towards their sparse projection, with a dual"
    SOURCE: ClassVar[str] = "Zhang et al., ADMM pruning, ECCV 2018, arXiv 1804.03294"
    Options = AdmmOptions

    def __init__(self, target: PruningTarget, options: AdmmOptions) -> None:
        super().__init__(target, options)
        self._options = options
        weights = {layer.name: layer.linear.weight.detach() for layer in self.layers}
        self._projected = self.keep("projected", {n: w.clone() for n, w in weights.items()})
        self._dual = self.keep("dual", {n: torch.zeros_like(w) for n, w in weights.items()})
        for name, weight in weights.items():  # refuses a density that the projection cannot keep
            self._support(name, weight)
        self.register_buffer("distances", torch.zeros(options.iterations))
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    def _support(self, name: str, weight: Tensor) -> Tensor:
        score, density = weight.abs(), self.target.densities[name]
        if self._options.projection is Projection.DARB:
            try:
                return block_max_mask(score, block_sizes(score, density))
            except ValueError as error:
                raise ValueError(f"layer {name!r}: {error}") from error
        if self._options.projection is Projection.LANES:
            return balanced_mask(score, density, 0)
        return largest(score, kept_count(density, score.numel()))

    @torch.no_grad()
    def before_step(self, clock: Clock) -> None:
        """Update projection and dual variable where an iteration begins."""
        if clock.round_begun(self._options.iterations) is None:
            return
        iteration = self.get_buffer("iteration")
        apart = square = 0.0
        for layer in self.layers:
            name, weight = layer.name, layer.linear.weight.detach()
            projected, dual = self._projected[name], self._dual[name]
            if iteration > 0:
                dual.add_(weight - projected)
            moved = weight + dual
            projected.copy_(moved * self._support(name, moved))
            apart += float((weight - projected).square().sum())
            square += float(weight.square().sum())
        self.get_buffer("distances")[iteration] = (apart / square) ** 0.5
        iteration.add_(1)

    @torch.no_grad()
    def after_backward(self, clock: Clock) -> None:
        """Add the gradient of the distance."""
        for layer in self.layers:
            weight = layer.linear.weight
            assert weight.grad is not None
            distance = weight - self._projected[layer.name] + self._dual[layer.name]
            weight.grad.add_(distance, alpha=self._options.rho)

    @torch.no_grad()
    def finalise(self) -> None:
        """Project the weights for good."""
        self.masks.set(
            {layer.name: self._support(layer.name, layer.linear.weight) for layer in self.layers}
        )

    def facts(self) -> dict[str, Any]:
        """Return the relative distance to the projection at each iteration."""
        count = int(self.get_buffer("iteration"))
        return {"admm_distances": [float(d) for d in self.get_buffer("distances")[:count]]}
