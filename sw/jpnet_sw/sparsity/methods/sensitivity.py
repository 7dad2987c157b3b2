"""Sensitivity masks: the weights or filters whose loss the loss would feel least die."""

from dataclasses import dataclass
from typing import ClassVar

from jpnet_sw.sparsity.options import option
from jpnet_sw.sparsity.rounds import RoundMethod, SelectionOptions
from jpnet_sw.sparsity.score import SensitivityAverage, SensitivityScore
from jpnet_sw.sparsity.target import PrunableLayer

__all__ = ["Sensitivity", "SensitivityOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SensitivityOptions(SelectionOptions):
    """Options of `Sensitivity`."""

    average: SensitivityAverage = option(
        SensitivityAverage.PRODUCT, "what is averaged over the mini-batches of a round"
    )
    regrow: bool = option(True, "dead weights are trained on, hidden, and may live again")


class Sensitivity(RoundMethod):
    """A weight's score is ``|w * dL/dw|``, averaged over the mini-batches since the last round.

    L is the loss of labels and teacher, without regularisation; the gradient is that of the masked
    network. The first round begins when there is a score.
    """

    SUMMARY: ClassVar[str] = "smallest first-order changes of the loss |w dL/dw| die"
    SOURCE: ClassVar[str] = "Molchanov et al., Taylor-FO, CVPR 2019, arXiv 1906.10771"
    Options = SensitivityOptions
    options: SensitivityOptions

    def running_score(self, layer: PrunableLayer) -> SensitivityScore:
        """Return the averages of a layer."""
        return SensitivityScore(layer.linear.weight, self.structure, self.options.average)

    @property
    def hides(self) -> bool:
        """Whether dead weights may live again."""
        return self.options.regrow
