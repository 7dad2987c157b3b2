"""Sensitivity masks: the weights or filters whose loss the loss would feel least die."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from jpnet_sw.sparsity.method import slot
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
    COMPARABLE: ClassVar[bool] = False
    Options = SensitivityOptions
    options: SensitivityOptions

    def prepare(self) -> None:
        """Begin to average."""
        self.averages: dict[str, SensitivityScore] = {}
        for layer in self.layers:
            score = SensitivityScore(layer.linear.weight, self.structure, self.options.average)
            self.averages[layer.name] = score
            self.add_module(slot(layer.name), score)

    @property
    def hides(self) -> bool:
        """Whether dead weights may live again."""
        return self.options.regrow

    def on_gradient(self, layer: PrunableLayer, gradient: Tensor) -> None:
        """Take the step's gradient into account."""
        self.averages[layer.name].add(layer.linear.weight, gradient)

    def scores(self) -> dict[str, Tensor]:
        """Return the averages since the last round."""
        if not all(average.batches for average in self.averages.values()):
            return {}
        return {
            name: average.take(self.masks.dense(name)) for name, average in self.averages.items()
        }

    def finalise(self) -> None:
        """Choose for the last time."""
        self.begin_round(1.0)
        super().finalise()
