"""Methods that score weights or filters and keep the best: what they have in common."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from jpnet_sw.sparsity.method import PrunableLayer, PruningMethod, PruningTarget
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.score import normalised
from jpnet_sw.sparsity.selector import Scope, Selector, select
from jpnet_sw.sparsity.structure import Structure, widen

__all__ = ["ScoredMethod", "ScoredOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredOptions(MethodOptions):
    """Options of methods that keep the best scores."""

    structure: Structure = option(Structure.ELEMENT, "what lives and dies together")
    selector: Selector = option(Selector.COUNT, "how the border is drawn")
    scope: Scope = option(Scope.LAYER, "what is compared: one layer's scores or all")
    value: float = option(1.0, "threshold, or multiple for the selector spread", low=0)
    keep_rows: bool = option(True, "keep the best weight of each output channel")


class ScoredMethod(PruningMethod):
    """Keeps the best scores."""

    Options = ScoredOptions

    def __init__(self, target: PruningTarget, options: ScoredOptions) -> None:
        super().__init__(target, options)
        self.options = options

    def attach(self) -> None:
        """Let filters die whole."""
        if self.removes_channels:
            self.target.tie_filters()

    @property
    def chosen(self) -> tuple[PrunableLayer, ...]:
        """The layers that are pruned."""
        return self.target.prunable(self.options.structure)

    @property
    def removes_channels(self) -> bool:
        """Whether whole filters are pruned."""
        return self.options.structure is Structure.FILTER

    def keep_best(
        self,
        scores: Mapping[str, Tensor],
        densities: Mapping[str, float],
        *,
        comparable: bool,
        regrow: bool = False,
    ) -> None:
        """Set the masks of the best scores.

        Parameters
        ----------
        scores : layer name to scores of groups
        densities
            Layer name to density.
        comparable
            Whether scores of several layers can be compared as they are.
        regrow
            Whether a dead weight may live again.
        """
        options = self.options
        if options.scope is Scope.GLOBAL and not comparable:
            scores = {name: normalised(score) for name, score in scores.items()}
        kept = select(
            scores,
            densities,
            selector=options.selector,
            scope=options.scope,
            value=options.value,
            keep_rows=options.keep_rows and options.structure is Structure.ELEMENT,
        )
        if options.structure is Structure.FILTER:
            for name, mask in kept.items():
                mask[scores[name].argmax()] = 1  # never a whole layer
        masks = {name: widen(mask, self.masks.masks[name]) for name, mask in kept.items()}
        if not regrow:
            masks = {name: mask * self.masks.masks[name] for name, mask in masks.items()}
        self.masks.set(masks)

    @torch.no_grad()
    def finalise(self) -> None:
        """Mask what dead filters feed."""
        if self.removes_channels:
            self.target.mask_filters({})
