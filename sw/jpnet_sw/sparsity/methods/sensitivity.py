"""Sensitivity masks: the weights or filters whose loss the loss would feel least die."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.method import PruningTarget, slot
from jpnet_sw.sparsity.methods.scored import ScoredMethod, ScoredOptions
from jpnet_sw.sparsity.options import option
from jpnet_sw.sparsity.score import SensitivityAverage, SensitivityScore

__all__ = ["Sensitivity", "SensitivityOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SensitivityOptions(ScoredOptions):
    """Options of `Sensitivity`."""

    average: SensitivityAverage = option(
        SensitivityAverage.PRODUCT, "what is averaged over the mini-batches of a round"
    )
    regrow: bool = option(True, "dead weights are trained on, hidden, and may live again")


class Sensitivity(ScoredMethod):
    """A weight's score is ``|w * dL/dw|``, averaged over the mini-batches since the last round.

    L is the loss of labels and teacher, without regularisation; the gradient is that of the masked
    network. The first round begins when there is a score.
    """

    SUMMARY: ClassVar[str] = "smallest first-order changes of the loss |w dL/dw| die"
    SOURCE: ClassVar[str] = "Molchanov et al., Taylor-FO, CVPR 2019, arXiv 1906.10771"
    Options = SensitivityOptions

    def __init__(self, target: PruningTarget, options: SensitivityOptions) -> None:
        super().__init__(target, options)
        self._regrow = options.regrow
        for layer in self.chosen:
            score = SensitivityScore(layer.linear.weight, options.structure, options.average)
            self.add_module(slot(layer.name), score)

    def _score(self, name: str) -> SensitivityScore:
        found = self.get_submodule(slot(name))
        assert isinstance(found, SensitivityScore)
        return found

    def attach(self) -> None:
        """Keep the hidden weights."""
        super().attach()
        if self._regrow and not self.masks.shadows:
            self.masks.keep_shadows()

    def _choose(self, densities: dict[str, float]) -> None:
        if not all(self._score(layer.name).batches for layer in self.chosen):
            return
        scores = {
            layer.name: self._score(layer.name).score(self.masks.dense(layer.name))
            for layer in self.chosen
        }
        self.keep_best(scores, densities, comparable=False, regrow=self._regrow)
        for layer in self.chosen:
            self._score(layer.name).restart()

    def before_step(self, clock: Clock) -> None:
        """Choose anew where a round begins."""
        densities = self.target.round_densities(clock)
        if densities is not None:
            self._choose(densities)

    def after_backward(self, clock: Clock) -> None:
        """Take the step's gradient into account."""
        for layer in self.chosen:
            gradient = layer.linear.weight.grad
            if gradient is not None:
                self._score(layer.name).add(layer.linear.weight, gradient)

    @torch.no_grad()
    def finalise(self) -> None:
        """Choose for the last time."""
        self._choose(dict(self.target.densities))
        super().finalise()
