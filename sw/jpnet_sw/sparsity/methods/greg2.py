"""GReg-2: the penalty first grows on all groups, and picks."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from jpnet_sw.sparsity.growth import GrowthPlan
from jpnet_sw.sparsity.methods.greg import Greg1, GregOptions
from jpnet_sw.sparsity.options import option

__all__ = ["Greg2", "Greg2Options"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Greg2Options(GregOptions):
    """Options of `Greg2`."""

    recovery: float = option(-1e-4, "factor of the kept groups after picking", low=-1, high=1)


class Greg2(Greg1):
    """As `Greg1`, but the penalty first grows on all groups, and the then smallest are doomed.

    Weights in flat directions of the loss shrink faster under it, so that magnitude tells what
    the loss needs.
    """

    SUMMARY: ClassVar[str] = "as greg1; picked under a penalty on all groups that grows first"
    SOURCE: ClassVar[str] = "Wang et al., GReg-2, ICLR 2021, arXiv 2012.09243"
    Options = Greg2Options
    options: Greg2Options
    PICKS: ClassVar[bool] = True

    def grow(self, name: str, score: Tensor, plan: GrowthPlan) -> None:
        """Update one layer's factors, and pick when they are high enough."""
        factor = self.factors[name]
        if self.picked[name]:
            raised = factor + plan.growth
            factor.copy_(torch.where(self.doomed[name].bool(), raised, self.options.recovery))
            return
        factor.add_(plan.pick_growth)
        if float(factor.max()) > plan.pick_ceiling - plan.pick_growth / 2:
            self.pick(name, score)
