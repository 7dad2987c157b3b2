"""JPnet's own: magnitude masks tightened in many small rounds, under L1 and L2 regularisation."""

from typing import ClassVar

from jpnet_sw.sparsity.rounds import RoundMethod

__all__ = ["Progressive"]


class Progressive(RoundMethod):
    """The smallest magnitudes of each layer die, a few in each round, and stay dead.

    The regularisation is that of the stage.
    """

    SUMMARY: ClassVar[str] = "magnitude in many small rounds, under L1 and L2 regularisation"
    SOURCE: ClassVar[str] = "Yang et al., JPnet, arXiv 1906.07875"
