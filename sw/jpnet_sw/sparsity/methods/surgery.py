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
        (), "border = mean + spread * deviation of |w|; without it, the layer's density", low=-10
    )
    margin: float = option(
        0.1, "share of the border below and above it that changes nothing", low=0, high=0.9
    )
    decay: float = option(1e-3, "chance of an update falls as 1 / (1 + decay * step)^power", low=0)
    power: float = option(1.0, "see decay", low=0, high=10)


class Surgery(RoundMethod):
    """The gradient of the masked network moves every weight, so that a hidden one can return.

    The border of a layer is fixed by its weights at the first step: ``mean + c * deviation`` of the
    magnitudes, or, without c, the magnitude that leaves the layer's density. A weight below 0.9
    borders is hidden, one above 1.1 is spliced back. Biases are left alone.
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

    def _find_border(self, name: str, score: Tensor) -> float:
        magnitude = score[score > 0]
        if name in self.spreads:
            found = magnitude.mean() + self.spreads[name] * magnitude.std(correction=0)
            return max(0.0, float(found))
        keep = kept_count(self.target.densities[name], score.numel())
        return float(magnitude.sort(descending=True).values[min(keep, len(magnitude)) - 1])

    def round_begun(self, clock: Clock) -> float | None:
        """Hide and splice ever more rarely, at random."""
        chance = (1 + self.options.decay * clock.step) ** -self.options.power
        return clock.progress if float(torch.rand(())) < chance else None

    def choose(self, scores: Mapping[str, Tensor], done: float) -> dict[str, Tensor]:
        """Return masks that change where a magnitude is on the wrong side of its border."""
        masks = {}
        for name, score in scores.items():
            if self.borders[name] < 0:
                self.borders[name].fill_(self._find_border(name, score))
            border, margin = float(self.borders[name]), self.options.margin
            low, high = (1 - margin) * border, (1 + margin) * border
            mask = hysteresis(self.masks.masks[name], score, low, high)
            masks[name] = with_best(mask, score)
        return masks
