"""Masks that are chosen in rounds: what scores best lives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from jpnet_sw.sparsity.method import GroupOptions, PruningMethod
from jpnet_sw.sparsity.options import option
from jpnet_sw.sparsity.score import normalised
from jpnet_sw.sparsity.selector import Scope, Selector, select
from jpnet_sw.sparsity.structure import Structure

__all__ = ["RoundMethod", "SelectionOptions"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionOptions(GroupOptions):
    """Options of methods that leave it to the user how the best scores are selected."""

    selector: Selector = option(Selector.COUNT, "how the border is drawn")
    scope: Scope = option(Scope.LAYER, "what is compared: one layer's scores or all")
    value: float = option(1.0, "threshold, or multiple for the selector spread", low=0)
    keep_rows: bool = option(True, "keep the best weight of each output channel")


_PLAIN = SelectionOptions(keep_rows=False)


class RoundMethod(PruningMethod):
    """Base of methods that choose masks in each round; here by magnitude, to the layers' densities.

    Densities fall on a cubic curve. A layer always keeps its best weight or filter. Dead weights
    stay dead unless they are hidden (`hides`).
    """

    COMPARABLE: ClassVar[bool] = True
    """Whether scores of different layers can be compared as they are."""

    @property
    def selection(self) -> SelectionOptions:
        """How the best scores are selected: an exact count per layer, or as the options say."""
        return self.options if isinstance(self.options, SelectionOptions) else _PLAIN

    def scores(self) -> Mapping[str, Tensor]:
        """Return each layer's scores of weights or groups, at least 0; none puts the choice off."""
        return self.magnitudes()

    def choose(self, scores: Mapping[str, Tensor], done: float) -> Mapping[str, Tensor]:
        """Return each layer's mask, of the scores' shape, when a share of the rounds has begun."""
        chosen = self.selection
        if chosen.scope is Scope.GLOBAL and not self.COMPARABLE:
            scores = {name: normalised(score) for name, score in scores.items()}
        return select(
            scores,
            self.target.densities_at(done),
            selector=chosen.selector,
            scope=chosen.scope,
            value=chosen.value,
            keep_rows=chosen.keep_rows and self.structure is Structure.ELEMENT,
        )

    def begin_round(self, done: float) -> None:
        """Choose anew."""
        scores = self.scores()
        if scores:
            masks = self.choose(scores, done)
            for name, mask in masks.items():
                mask[torch.unravel_index(scores[name].argmax(), mask.shape)] = 1
            self.masks.set(masks)
