"""Static weight masks by magnitude, tightened round by round."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["WeightMasks", "cubic_density"]


def cubic_density(final: float, progress: float) -> float:
    """Return the density of a pruning round: fast at first, ever finer towards the end.

    Parameters
    ----------
    final
        Density after the last round, 0 to 1.
    progress
        Share of the rounds that are done, 0 to 1.
    """
    return final + (1 - final) * (1 - progress) ** 3


class WeightMasks:
    """One mask per weight tensor: 1 where the weight lives, 0 where it was pruned.

    A pruned weight stays pruned. The threshold of a layer is the quantile of its own magnitudes
    that leaves the wanted density, so each layer has its own threshold.

    Parameters
    ----------
    weights : layer name to float parameter, any shape
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = dict(weights)
        self.masks = {name: torch.ones_like(weight) for name, weight in self._weights.items()}

    @torch.no_grad()
    def tighten(self, densities: Mapping[str, float]) -> None:
        """Prune each layer's smallest magnitudes down to a density.

        Parameters
        ----------
        densities : layer name to density, above 0 and at most 1

        Raises
        ------
        ValueError
            If a layer is unknown or a density is out of range.
        """
        for name, density in densities.items():
            if name not in self._weights:
                raise ValueError(f"densities must name layers of the model, not {name!r}")
            if not 0 < density <= 1:
                raise ValueError(f"densities[{name!r}] must be above 0, at most 1, not {density!r}")
            magnitude = self._weights[name].abs() * self.masks[name]
            keep = max(1, int(density * magnitude.numel()))
            order = magnitude.flatten().argsort(descending=True, stable=True)
            mask = torch.zeros(magnitude.numel(), device=magnitude.device)
            mask[order[:keep]] = 1
            self.masks[name] = mask.reshape(magnitude.shape) * self.masks[name]
        self.apply()

    @torch.no_grad()
    def apply(self) -> None:
        """Set every pruned weight to 0; called after each optimiser step."""
        for name, weight in self._weights.items():
            weight.mul_(self.masks[name])

    @torch.no_grad()
    def shrink(self, learning_rate: float, *, l1: float, l2: float) -> None:
        """Regularise the weights: ``rate * l1`` towards 0, then ``1 - rate * l2`` times."""
        for weight in self._weights.values():
            shrunk = nn.functional.softshrink(weight, learning_rate * l1)
            weight.copy_(shrunk * (1 - learning_rate * l2))

    def densities(self) -> dict[str, float]:
        """Return the share of living weights per layer."""
        return {name: float(mask.mean()) for name, mask in self.masks.items()}

    def load(self, masks: Mapping[str, Tensor]) -> None:
        """Take over masks that were saved."""
        for name, mask in masks.items():
            self.masks[name] = mask.to(self._weights[name].device)
