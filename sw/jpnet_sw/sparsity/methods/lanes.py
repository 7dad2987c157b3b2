"""Lane-balanced masks: every lane of the accelerator gets the same number of weights."""

from dataclasses import dataclass
from typing import ClassVar

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.method import PruningMethod, PruningTarget
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.structure import balanced_mask

__all__ = ["LaneBalanced", "LaneOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneOptions(MethodOptions):
    """Options of `LaneBalanced`."""

    lanes: int = option(
        0, "lanes that output channels are dealt to in turn; 0: each channel is one", low=0
    )


class LaneBalanced(PruningMethod):
    """The smallest magnitudes of each lane die, a few in each round, as many in every lane."""

    SUMMARY: ClassVar[str] = "magnitude in rounds, as many weights in every lane"
    SOURCE: ClassVar[str] = "after Cao et al., Bank-Balanced Sparsity, FPGA 2019"
    Options = LaneOptions

    def __init__(self, target: PruningTarget, options: LaneOptions) -> None:
        super().__init__(target, options)
        self._lanes = options.lanes

    def before_step(self, clock: Clock) -> None:
        """Tighten the masks where a round begins."""
        densities = self.target.round_densities(clock)
        if densities is None:
            return
        masks = {}
        for name, density in densities.items():
            score = self.masks.dense(name).abs() * self.masks.masks[name]
            masks[name] = balanced_mask(score, density, self._lanes) * self.masks.masks[name]
        self.masks.set(masks)
