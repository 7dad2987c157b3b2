"""ADMM: the weights are drawn towards their own projection onto the sparse set."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from jpnet_sw.sparsity.method import PruningMethod
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.patterns import Pattern, each_layer, pattern_mask
from jpnet_sw.sparsity.target import PrunableLayer

__all__ = ["Admm", "AdmmOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmmOptions(MethodOptions):
    """Options of `Admm`."""

    iterations: int = option(10, "updates of projection and dual variable", low=1)
    rho: float = option(1e-2, "weight of the distance to the projection", low=0)
    projection: Pattern = option(Pattern.COUNT, "what the weights are projected onto")


class Admm(PruningMethod):
    """Adds ``rho / 2 * ||W - Z + U||^2`` to the loss, Z the projection of W + U, U the dual.

    At the end the weights are projected. The distance ``||W - Z|| / ||W||`` after each iteration is
    recorded: it must shrink, else rho is too small.
    """

    SUMMARY: ClassVar[str] = "weights are drawn towards their sparse projection, with a dual"
    SOURCE: ClassVar[str] = "Zhang et al., ADMM pruning, ECCV 2018, arXiv 1804.03294"
    UNUSED = frozenset({"rounds"})
    Options = AdmmOptions
    options: AdmmOptions

    def prepare(self) -> None:
        """Refuse densities that the projection cannot keep, and begin with no dual."""
        self._supports(self.magnitudes())
        weights = {layer.name: layer.linear.weight.detach().clone() for layer in self.layers}
        self.projected = self.keep("projected", weights)
        self.dual = self.keep_per_group("dual")
        self.distances = self.keep_one("distances", torch.zeros(self.options.iterations))
        self.iteration = self.keep_one("iteration", torch.zeros((), dtype=torch.int64))

    def _supports(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rule = partial(pattern_mask, self.options.projection)
        return each_layer(rule, scores, self.target.densities)

    @property
    def rounds(self) -> int:
        """One for each iteration."""
        return self.options.iterations

    def begin_round(self, done: float) -> None:
        """Update projection and dual variable."""
        moved, apart, square = {}, 0.0, 0.0
        for layer in self.layers:
            weight, dual = layer.linear.weight, self.dual[layer.name]
            if self.iteration > 0:
                dual.add_(weight - self.projected[layer.name])
            moved[layer.name] = weight + dual
        supports = self._supports({name: found.abs() for name, found in moved.items()})
        for layer in self.layers:
            weight, projected = layer.linear.weight, self.projected[layer.name]
            projected.copy_(moved[layer.name] * supports[layer.name])
            apart += float((weight - projected).square().sum())
            square += float(weight.square().sum())
        self.distances[self.iteration] = (apart / square) ** 0.5
        self.iteration.add_(1)

    def on_gradient(self, layer: PrunableLayer, gradient: Tensor) -> None:
        """Add the gradient of the distance."""
        distance = layer.linear.weight - self.projected[layer.name] + self.dual[layer.name]
        gradient.add_(distance, alpha=self.options.rho)

    def final_masks(self) -> dict[str, Tensor]:
        """Project the weights for good."""
        return self._supports(self.magnitudes())

    def facts(self) -> dict[str, Any]:
        """Return the relative distance to the projection at each iteration."""
        return {"admm_distances": [float(d) for d in self.distances[: int(self.iteration)]]}
