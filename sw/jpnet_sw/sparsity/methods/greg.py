"""GReg-1: doomed groups are pressed to 0 by a growing penalty, then cut."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.growth import GrowthPlan, GrowthPreset, plan_growth
from jpnet_sw.sparsity.method import PrunableLayer, PruningMethod, PruningTarget
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.selector import kept_count, largest
from jpnet_sw.sparsity.structure import Structure, group_scores, widen

__all__ = ["Greg1", "GregOptions"]

_SMOOTHING = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class GregOptions(MethodOptions):
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
    Options = GregOptions
    PICKS: ClassVar[bool] = False

    def __init__(self, target: PruningTarget, options: GregOptions) -> None:
        super().__init__(target, options)
        self.options = options
        self._chosen = target.prunable(options.structure)
        like = {
            layer.name: group_scores(layer.linear.weight.detach(), options.structure)
            for layer in self._chosen
        }
        scalar = {name: score.new_zeros(()) for name, score in like.items()}
        self.factors = self.keep("factor", {n: torch.zeros_like(s) for n, s in like.items()})
        self.doomed = self.keep("doomed", {n: torch.zeros_like(s) for n, s in like.items()})
        self._ratios = self.keep("ratio", scalar)
        # Flags are numbers, since files of tensors hold no booleans.
        self.picked = self.keep("picked", {n: s.clone() for n, s in scalar.items()})
        self._ended = self.keep("ended", {n: s.clone() for n, s in scalar.items()})
        self.register_buffer("stable_since", torch.full((), -1, dtype=torch.int64))
        self.register_buffer("over", torch.zeros((), dtype=torch.int64))

    @property
    def removes_channels(self) -> bool:
        """Whether whole filters are pruned."""
        return self.options.structure is Structure.FILTER

    @property
    def done(self) -> bool:
        """Whether the factors have been stable for as long as the preset wants."""
        return bool(self.get_buffer("over"))

    def learning_rate(self, scheduled: float, clock: Clock) -> float:
        """Return the constant learning rate of growth and stabilisation."""
        return self.options.learning_rate

    def score(self, layer: PrunableLayer) -> Tensor:
        """Return the mean magnitude of each group of a layer."""
        return group_scores(layer.linear.weight.detach().abs(), self.options.structure)

    def pick(self, layer: PrunableLayer, score: Tensor) -> None:
        """Doom a layer's groups of smallest score."""
        keep = kept_count(self.target.densities[layer.name], score.numel())
        self.doomed[layer.name].copy_(1 - largest(score, keep))
        self.picked[layer.name].fill_(1)

    def grow(self, layer: PrunableLayer, plan: GrowthPlan) -> None:
        """Update one layer's factors."""
        if not self.picked[layer.name]:
            self.pick(layer, self.score(layer))
        self.factors[layer.name].add_(self.doomed[layer.name], alpha=plan.growth)

    def _update(self, layer: PrunableLayer, plan: GrowthPlan) -> None:
        name = layer.name
        if self._ended[name]:
            return
        if self.target.densities[name] >= 1:
            self._ended[name].fill_(1)
            return
        self.grow(layer, plan)
        if not self.picked[name]:
            return
        if self.removes_channels:
            self._measure_ratio(layer)
        reached = self.removes_channels and float(self._ratios[name]) >= self.options.ratio_limit
        # Half an update less than the ceiling: sums of many small steps are rounded.
        if reached or float(self.factors[name].max()) > plan.ceiling - plan.growth / 2:
            self._ended[name].fill_(1)

    def _measure_ratio(self, layer: PrunableLayer) -> None:
        score, doomed = self.score(layer), self.doomed[layer.name].bool()
        if not doomed.any():
            return
        now = score[~doomed].mean() / score[doomed].mean().clamp_min(1e-30)
        ratio = self._ratios[layer.name]
        ratio.copy_(now if ratio == 0 else _SMOOTHING * ratio + (1 - _SMOOTHING) * now)

    @torch.no_grad()
    def before_step(self, clock: Clock) -> None:
        """Let the factors grow, until all layers' growth has ended."""
        plan = plan_growth(
            self.options.preset,
            clock,
            ceiling=self.options.ceiling,
            growth_share=self.options.growth_share,
            picks=self.PICKS,
        )
        stable_since = self.get_buffer("stable_since")
        if stable_since >= 0:
            over = clock.step - int(stable_since) >= plan.stabilise_steps
            self.get_buffer("over").fill_(over)
            return
        if clock.step % plan.interval == 0:
            for layer in self._chosen:
                self._update(layer, plan)
            if all(self._ended.values()):
                stable_since.fill_(clock.step)

    @torch.no_grad()
    def after_backward(self, clock: Clock) -> None:
        """Add the penalty's gradient."""
        for layer in self._chosen:
            weight = layer.linear.weight
            assert weight.grad is not None
            weight.grad.add_(widen(self.factors[layer.name], weight) * weight)

    @torch.no_grad()
    def finalise(self) -> None:
        """Cut the doomed."""
        masks = {}
        for layer in self._chosen:
            if not self.picked[layer.name]:
                self.pick(layer, self.score(layer))
            masks[layer.name] = 1 - widen(self.doomed[layer.name], layer.linear.weight)
        if self.removes_channels:
            self.target.mask_filters(masks)
        else:
            self.masks.set(masks)

    def facts(self) -> dict[str, Any]:
        """Return each layer's last factor and magnitude ratio."""
        return {
            "greg_factors": {name: float(factor.max()) for name, factor in self.factors.items()},
            "greg_ratios": {name: float(ratio) for name, ratio in self._ratios.items()},
        }
