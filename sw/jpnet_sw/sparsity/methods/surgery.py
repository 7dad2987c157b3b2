"""Dynamic network surgery: weights are hidden and spliced back while all of them are trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.rounds import RoundMethod
from jpnet_sw.sparsity.selector import hysteresis, kept_count, with_best

__all__ = ["Surgery", "SurgeryOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SurgeryOptions(MethodOptions):
    """Options of `Surgery`."""

    spreads: tuple[float, ...] = option(
        (), "border = mean + spread * deviation of |w|; without it, by the density", low=-10
    )
    margin: float = option(
        0.1, "share of the border below and above it that changes nothing", low=0, high=0.9
    )
    decay: float = option(1e-3, "chance of an update falls as 1 / (1 + decay * step)^power", low=0)
    power: float = option(1.0, "see decay", low=0, high=10)


class Surgery(RoundMethod):
    """The gradient of the masked network moves every weight, so that a hidden one can return.

    A weight below 0.9 borders is hidden, one above 1.1 is spliced back. A layer's border is fixed
    by its weights at the first step, ``mean + c * deviation`` of the magnitudes; without c it
    follows the weights so that the layer's density is left, which falls on a cubic curve. Biases
    are left alone.
    """

    SUMMARY: ClassVar[str] = "pruning and splicing: hidden weights are trained on and may return"
    SOURCE: ClassVar[str] = "Guo et al., Dynamic Network Surgery, NIPS 2016, arXiv 1608.04493"
    UNUSED = frozenset({"rounds"})
    Options = SurgeryOptions
    options: SurgeryOptions

    def prepare(self) -> None:
        """Check the spreads; borders are found in the first round."""
        super().prepare()
        self.spreads = (
            self.target.per_layer(self.options, "spreads") if self.options.spreads else {}
        )
        self.borders = self.keep_per_layer("border", -1.0)

    @property
    def hides(self) -> bool:
        """Always: hidden weights are trained on."""
        return True

    def _find_border(self, name: str, score: Tensor, done: float) -> float:
        if name in self.spreads:
            magnitude = score[score > 0]
            found = magnitude.mean() + self.spreads[name] * magnitude.std(correction=0)
            return max(0.0, float(found))
        keep = kept_count(self.target.densities_at(done)[name], score.numel())
        if keep == score.numel():
            return 0.0
        margin, living = self.options.margin, self.masks.masks[name] > 0
        # The border at which each weight would change sides.
        changes = score / torch.where(living, 1 - margin, 1 + margin)
        return float(changes.flatten().sort(descending=True).values[keep])

    def round_begun(self, clock: Clock) -> float | None:
        """Hide and splice ever more rarely, at random."""
        chance = (1 + self.options.decay * clock.step) ** -self.options.power
        return clock.progress if float(torch.rand(())) < chance else None

    def choose(self, scores: Mapping[str, Tensor], done: float) -> dict[str, Tensor]:
        """Return masks that change where a magnitude is on the wrong side of its border."""
        masks = {}
        for name, score in scores.items():
            if name not in self.spreads or self.borders[name] < 0:
                self.borders[name].fill_(self._find_border(name, score, done))
            border, margin = float(self.borders[name]), self.options.margin
            low, high = (1 - margin) * border, (1 + margin) * border
            mask = hysteresis(self.masks.masks[name], score, low, high)
            masks[name] = with_best(mask, score)
        return masks

    def finalise(self) -> None:
        """Update for the last time where the densities say how much is left."""
        if not self.spreads:
            self.begin_round(1.0)
        super().finalise()
