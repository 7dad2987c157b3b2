"""Lane-balanced masks: every lane of the accelerator gets the same number of weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.rounds import RoundMethod
from jpnet_sw.sparsity.score import Scoring, SensitivityScore
from jpnet_sw.sparsity.structure import balanced_mask
from jpnet_sw.sparsity.target import PrunableLayer

__all__ = ["LaneBalanced", "LaneOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneOptions(MethodOptions):
    """Options of `LaneBalanced`."""

    score: Scoring = option(Scoring.MAGNITUDE, "what a weight is scored by")
    lanes: int = option(
        0, "lanes that output channels are dealt to in turn; 0: each channel is one", low=0
    )


class LaneBalanced(RoundMethod):
    """The smallest scores of each lane die, a few in each round, as many in every lane."""

    SUMMARY: ClassVar[str] = "magnitude in rounds, as many weights in every lane"
    SOURCE: ClassVar[str] = "after Cao et al., Bank-Balanced Sparsity, FPGA 2019"
    Options = LaneOptions
    options: LaneOptions

    def running_score(self, layer: PrunableLayer) -> SensitivityScore | None:
        """Return the averages of the sensitivities, if they are the score."""
        by_gradient = self.options.score is Scoring.SENSITIVITY
        return SensitivityScore(layer.linear.weight) if by_gradient else None

    def choose(self, scores: Mapping[str, Tensor], done: float) -> dict[str, Tensor]:
        """Return masks with equal shares of all lanes."""
        return {
            name: balanced_mask(scores[name], density, self.options.lanes)
            for name, density in self.target.densities_at(done).items()
        }
