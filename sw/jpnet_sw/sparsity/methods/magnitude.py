"""Magnitude masks: the smallest weights or filters die, at once or in rounds."""

from typing import ClassVar

from jpnet_sw.sparsity.rounds import RoundMethod, SelectionOptions

__all__ = ["Magnitude"]


class Magnitude(RoundMethod):
    """A weight's score is its magnitude, a filter's the mean magnitude of its weights.

    Dead weights stay dead. With one round it is one-shot pruning.
    """

    SUMMARY: ClassVar[str] = "smallest magnitudes die: count, quantile, threshold or multiple"
    SOURCE: ClassVar[str] = "Han et al., NIPS 2015, arXiv 1506.02626"
    Options = SelectionOptions
