"""GReg-1: doomed groups are pressed to 0 by a growing penalty, then cut."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.growth import GrowthPlan, GrowthPreset, plan_growth
from jpnet_sw.sparsity.method import GroupOptions, PruningMethod
from jpnet_sw.sparsity.options import option
from jpnet_sw.sparsity.selector import densest
from jpnet_sw.sparsity.structure import Structure, widen
from jpnet_sw.sparsity.target import PrunableLayer

__all__ = ["Greg1", "GregOptions"]

_SMOOTHING = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class GregOptions(GroupOptions):
    """Options of `Greg1`."""

    structure: Structure = option(Structure.FILTER, "what is pruned as one")
    preset: GrowthPreset = option(GrowthPreset.BUDGET, "where the schedule's numbers come from")
    ceiling: float = option(1.0, "factor that ends the growth (preset budget)", low=1e-6)
    growth_share: float = option(
        0.7,
        "share of the active part in which the factor reaches it (preset budget)",
        low=0.01,
        high=1,
    )
    ratio_limit: float = option(
        1000.0, "kept over doomed mean magnitude that ends a layer's growth (filters)", low=1
    )
    learning_rate: float = option(1e-3, "constant, until the doomed are cut", low=1e-9)


class Greg1(PruningMethod):
    """The groups of smallest mean magnitude at the first step are doomed.

    ``factor * w`` is added to the gradient of each doomed weight; the factor grows by a constant
    at a fixed interval until the doomed of the layer are a thousandth of the kept or the factor
    passes its ceiling. When the growth of all layers has ended, factors stay for the rest of the
    active part; then the doomed are cut, filters with bias and batch normalisation.
    """

    SUMMARY: ClassVar[str] = "doomed groups under a growing L2 penalty; picked at the start"
    SOURCE: ClassVar[str] = "Wang et al., GReg-1, ICLR 2021, arXiv 2012.09243"
    UNUSED = frozenset({"rounds"})
    Options = GregOptions
    options: GregOptions
    PICKS: ClassVar[bool] = False

    def prepare(self) -> None:
        """Begin without a penalty, and with nothing doomed."""
        self.factors = self.keep_per_group("factor")
        self.doomed = self.keep_per_group("doomed")
        self.ratios = self.keep_per_layer("ratio")
        self.picked = self.keep_per_layer("picked")
        self.ended = self.keep_per_layer("ended")
        self.stable_since = self.keep_one("stable_since", torch.full((), -1, dtype=torch.int64))
        self.over = self.keep_one("over", torch.zeros((), dtype=torch.int64))

    @property
    def done(self) -> bool:
        """Whether the factors have been stable for as long as the preset wants."""
        return bool(self.over)

    def learning_rate(self, scheduled: float, clock: Clock) -> float:
        """Return the constant learning rate of growth and stabilisation."""
        return self.options.learning_rate

    def pick(self, name: str, score: Tensor) -> None:
        """Doom a layer's groups of smallest score."""
        self.doomed[name].copy_(1 - densest(score, self.target.densities[name]))
        self.picked[name].fill_(1)

    def grow(self, name: str, score: Tensor, plan: GrowthPlan) -> None:
        """Update one layer's factors."""
        if not self.picked[name]:
            self.pick(name, score)
        self.factors[name].add_(self.doomed[name], alpha=plan.growth)

    def _update(self, name: str, score: Tensor, plan: GrowthPlan) -> None:
        if self.target.densities[name] >= 1:
            self.ended[name].fill_(1)
            return
        self.grow(name, score, plan)
        if not self.picked[name]:
            return
        if self.removes_channels:
            self._measure_ratio(name, score)
        reached = self.removes_channels and float(self.ratios[name]) >= self.options.ratio_limit
        # Half an update less than the ceiling: sums of many small steps are rounded.
        if reached or float(self.factors[name].max()) > plan.ceiling - plan.growth / 2:
            self.ended[name].fill_(1)

    def _measure_ratio(self, name: str, score: Tensor) -> None:
        doomed, ratio = self.doomed[name].bool(), self.ratios[name]
        if doomed.any():
            now = score[~doomed].mean() / score[doomed].mean().clamp_min(1e-30)
            ratio.copy_(now if ratio == 0 else _SMOOTHING * ratio + (1 - _SMOOTHING) * now)

    def before_step(self, clock: Clock) -> None:
        """Let the factors grow, until all layers' growth has ended."""
        plan = plan_growth(
            self.options.preset,
            clock,
            ceiling=self.options.ceiling,
            growth_share=self.options.growth_share,
            picks=self.PICKS,
        )
        if self.stable_since >= 0:
            self.over.fill_(clock.step - int(self.stable_since) >= plan.stabilise_steps)
        elif clock.every(plan.interval):
            for name, score in self.magnitudes().items():
                if not self.ended[name]:
                    self._update(name, score, plan)
            if all(self.ended.values()):
                self.stable_since.fill_(clock.step)

    def on_gradient(self, layer: PrunableLayer, gradient: Tensor) -> None:
        """Add the penalty's gradient."""
        weight = layer.linear.weight
        gradient.add_(widen(self.factors[layer.name], weight) * weight)

    def final_masks(self) -> dict[str, Tensor]:
        """Cut the doomed."""
        for name, score in self.magnitudes().items():
            if not self.picked[name]:
                self.pick(name, score)
        return {name: 1 - doomed for name, doomed in self.doomed.items()}

    def facts(self) -> dict[str, Any]:
        """Return each layer's last factor and magnitude ratio."""
        return {
            "greg_factors": {name: float(factor.max()) for name, factor in self.factors.items()},
            "greg_ratios": {name: float(ratio) for name, ratio in self.ratios.items()},
        }
