"""How important each weight is."""

from enum import StrEnum

import torch
from torch import Tensor, nn

from jpnet_sw.sparsity.structure import Structure, group_scores

__all__ = ["RunningScore", "Scoring", "SensitivityAverage", "SensitivityScore", "normalised"]


def normalised(score: Tensor) -> Tensor:
    """Return scores divided by their root mean square, so that layers can be compared."""
    return score / score.square().mean().sqrt().clamp_min(torch.finfo(score.dtype).tiny)


class Scoring(StrEnum):
    """What a weight is scored by."""

    MAGNITUDE = "magnitude"
    """``|w|``."""
    SENSITIVITY = "sensitivity"
    """``|w * dL/dw|``, averaged over the mini-batches of a round."""


class RunningScore(nn.Module):
    """Base of a layer's scores that come from the gradients since the last round.

    What it remembers are buffers, so that a resumed training goes on with it.
    """

    @property
    def ready(self) -> bool:
        """Whether there has been a gradient."""
        raise NotImplementedError

    def add(self, weight: Tensor, gradient: Tensor) -> None:
        """Take one mini-batch's gradient into account."""
        raise NotImplementedError

    def take(self, weight: Tensor) -> Tensor:
        """Return the scores of weights or groups, at least 0, and begin anew."""
        raise NotImplementedError


class SensitivityAverage(StrEnum):
    """What is averaged over the mini-batches."""

    PRODUCT = "product"
    """``|w * dL/dw|`` of each batch; at a minimum of the loss it still ranks."""
    GRADIENT = "gradient"
    """``dL/dw``, multiplied afterwards: it vanishes at a minimum."""


class SensitivityScore(RunningScore):
    """First-order change of the loss if a group of weights were 0, averaged over mini-batches.

    ``|w * dL/dw|`` of a single weight; of a filter ``|sum of w * dL/dw|``.

    Parameters
    ----------
    weight
        Of which the shape and the device are taken.
    structure
        What a group is.
    average
        What is averaged.
    """

    total: Tensor
    batches: Tensor

    def __init__(
        self,
        weight: Tensor,
        structure: Structure = Structure.ELEMENT,
        average: SensitivityAverage = SensitivityAverage.PRODUCT,
    ) -> None:
        super().__init__()
        self._structure = structure
        self._average = average
        summed = average is SensitivityAverage.PRODUCT
        like = group_scores(weight.detach(), structure) if summed else weight.detach()
        self.register_buffer("total", torch.zeros_like(like))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64, device=weight.device))

    @property
    def ready(self) -> bool:
        """Whether there has been a mini-batch."""
        return bool(self.batches)

    def _grouped(self, products: Tensor) -> Tensor:
        if self._structure is Structure.FILTER:
            products = products.flatten(start_dim=1).sum(dim=1)
        return products.abs()

    @torch.no_grad()
    def add(self, weight: Tensor, gradient: Tensor) -> None:
        """Take one mini-batch's gradient into account."""
        summed = self._average is SensitivityAverage.PRODUCT
        self.total.add_(self._grouped(weight * gradient) if summed else gradient)
        self.batches.add_(1)

    @torch.no_grad()
    def score(self, weight: Tensor) -> Tensor:
        """Return the groups' scores; there must have been a batch."""
        assert self.batches
        mean = self.total / self.batches
        if self._average is SensitivityAverage.PRODUCT:
            return mean
        return self._grouped(weight * mean)

    def take(self, weight: Tensor) -> Tensor:
        """Return the groups' scores and forget all batches."""
        found = self.score(weight)
        self.total.zero_()
        self.batches.zero_()
        return found
