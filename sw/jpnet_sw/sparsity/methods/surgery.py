"""Dynamic network surgery: weights are hidden and spliced back while all of them are trained."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.method import PruningMethod, PruningTarget
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.selector import hysteresis, kept_count

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


class Surgery(PruningMethod):
    """The gradient of the masked network moves every weight, so that a hidden one can return.

    The border of a layer is fixed by its weights at the first step: ``mean + c * deviation`` of the
    magnitudes, or, without c, the magnitude that leaves the layer's density. A weight below 0.9
    borders is hidden, one above 1.1 is spliced back. Biases are left alone.
    """

    SUMMARY: ClassVar[str] = "pruning and splicing: hidden weights are trained on and may return"
    SOURCE: ClassVar[str] = "Guo et al., Dynamic Network Surgery, NIPS 2016, arXiv 1608.04493"
    Options = SurgeryOptions

    def __init__(self, target: PruningTarget, options: SurgeryOptions) -> None:
        super().__init__(target, options)
        self._options = options
        self._spreads = target.per_layer(options, "spreads") if options.spreads else {}
        weights = {layer.name: layer.linear.weight for layer in self.layers}
        self._borders = self.keep("border", {n: w.new_full((), -1.0) for n, w in weights.items()})

    def attach(self) -> None:
        """Keep the hidden weights."""
        if not self.masks.shadows:
            self.masks.keep_shadows()

    def _find_border(self, name: str) -> float:
        magnitude = self.masks.dense(name).abs().flatten()
        magnitude = magnitude[magnitude > 0]
        if name in self._spreads:
            found = magnitude.mean() + self._spreads[name] * magnitude.std(correction=0)
            return max(0.0, float(found))
        keep = kept_count(self.target.densities[name], self.masks.dense(name).numel())
        return float(magnitude.sort(descending=True).values[min(keep, len(magnitude)) - 1])

    @torch.no_grad()
    def before_step(self, clock: Clock) -> None:
        """Hide and splice, ever more rarely."""
        for layer in self.layers:
            border = self._borders[layer.name]
            if border < 0:
                border.fill_(self._find_border(layer.name))
        chance = (1 + self._options.decay * clock.step) ** -self._options.power
        if float(torch.rand(())) >= chance:
            return
        margin = self._options.margin
        masks = {}
        for layer in self.layers:
            name, middle = layer.name, float(self._borders[layer.name])
            score = self.masks.dense(name).abs()
            mask = hysteresis(
                self.masks.masks[name], score, (1 - margin) * middle, (1 + margin) * middle
            )
            # The largest weight lives, so that the layer is not cut.
            mask.view(-1)[score.flatten().argmax()] = 1
            masks[name] = mask
        self.masks.set(masks)
