"""How the regularisation factor of GReg grows: steps, ceilings, ends."""

from dataclasses import dataclass
from enum import StrEnum

from jpnet_sw.sparsity.clock import Clock

__all__ = ["GrowthPlan", "GrowthPreset", "plan_growth"]


class GrowthPreset(StrEnum):
    """Where the numbers of the schedule come from."""

    BUDGET = "budget"
    """From the active steps of the stage."""
    PAPER_IMAGENET = "paper_imagenet"
    """The authors' for ImageNet, whatever the stage's length."""
    PAPER_CIFAR = "paper_cifar"
    """The authors' for CIFAR."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowthPlan:
    """Numbers of the schedule.

    Parameters
    ----------
    interval
        Steps between two updates of the factors.
    growth
        What an update adds to the factors of doomed groups.
    pick_growth, pick_ceiling
        The same of all groups while GReg-2 picks, and the factor at which it picks.
    ceiling
        Factor above which growth ends.
    stabilise_steps
        Steps on frozen factors, then the doomed are cut.
    """

    interval: int
    growth: float
    pick_growth: float
    pick_ceiling: float
    ceiling: float
    stabilise_steps: int


_PAPER = {GrowthPreset.PAPER_IMAGENET: (5, 40_000), GrowthPreset.PAPER_CIFAR: (10, 10_000)}


def plan_growth(
    preset: GrowthPreset, clock: Clock, *, ceiling: float, growth_share: float, picks: bool
) -> GrowthPlan:
    """Return the schedule of a stage.

    Parameters
    ----------
    preset
        Where the numbers come from.
    clock
        Its active steps are the budget.
    ceiling
        For the preset BUDGET; picking goes up to a hundredth of it.
    growth_share
        Share of the budget in which the factor reaches the ceiling, picking included; the rest
        stabilises.
    picks
        Whether a tenth of the growth goes to picking.
    """
    if preset in _PAPER:
        interval, stabilise = _PAPER[preset]
        return GrowthPlan(
            interval=interval,
            growth=1e-4,
            pick_growth=1e-5,
            pick_ceiling=1e-2,
            ceiling=1.0,
            stabilise_steps=stabilise,
        )
    growing = max(2, int(growth_share * clock.active_steps))
    # At least 300 updates where the budget has them, at most one in 5 steps.
    interval = max(1, min(5, growing // 300))
    updates = max(2, growing // interval)
    picking = max(1, updates // 10) if picks else 0
    pick_ceiling = ceiling / 100
    start = pick_ceiling if picks else 0.0
    return GrowthPlan(
        interval=interval,
        growth=(ceiling - start) / (updates - picking),
        pick_growth=pick_ceiling / max(1, picking),
        pick_ceiling=pick_ceiling,
        ceiling=ceiling,
        stabilise_steps=clock.active_steps,
    )
