"""Magnitude masks: the smallest weights or filters die, at once or in rounds."""

from typing import ClassVar

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.methods.scored import ScoredMethod
from jpnet_sw.sparsity.structure import group_scores

__all__ = ["Magnitude"]


class Magnitude(ScoredMethod):
    """A weight's score is its magnitude, a filter's the mean magnitude of its weights.

    Dead weights stay dead. With one round it is one-shot pruning.
    """

    SUMMARY: ClassVar[str] = "smallest magnitudes die: count, quantile, threshold or multiple"
    SOURCE: ClassVar[str] = "Han et al., NIPS 2015, arXiv 1506.02626"

    def before_step(self, clock: Clock) -> None:
        """Choose anew where a round begins."""
        densities = self.target.round_densities(clock)
        if densities is None:
            return
        scores = {
            layer.name: group_scores(self.masks.dense(layer.name).abs(), self.options.structure)
            for layer in self.chosen
        }
        self.keep_best(scores, densities, comparable=True)
