"""Masks that are chosen in rounds: what scores best lives."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from jpnet_sw.sparsity.method import GroupOptions, PruningMethod, slot
from jpnet_sw.sparsity.options import option
from jpnet_sw.sparsity.score import RunningScore, normalised
from jpnet_sw.sparsity.selector import Scope, Selector, select, with_best
from jpnet_sw.sparsity.structure import Structure
from jpnet_sw.sparsity.target import PrunableLayer

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

    Densities fall on a cubic curve. A layer always keeps its best filter. Dead weights stay dead
    unless they are hidden (`hides`).
    """

    def prepare(self) -> None:
        """Begin to score, where scores come from gradients."""
        self.running: dict[str, RunningScore] = {}
        for layer in self.layers:
            score = self.running_score(layer)
            if score is not None:
                self.running[layer.name] = score
                self.add_module(slot(layer.name), score)

    def running_score(self, layer: PrunableLayer) -> RunningScore | None:
        """Return what scores a layer by gradients, for all layers or none; None by magnitude."""
        return None

    @property
    def selection(self) -> SelectionOptions:
        """How the best scores are selected: an exact count per layer, or as the options say."""
        return self.options if isinstance(self.options, SelectionOptions) else _PLAIN

    def scores(self) -> Mapping[str, Tensor]:
        """Return each layer's scores of weights or groups; without any the round goes by."""
        if not self.running:
            return self.magnitudes()
        if not all(score.ready for score in self.running.values()):
            return {}
        return {name: score.take(self.masks.dense(name)) for name, score in self.running.items()}

    def on_gradient(self, layer: PrunableLayer, gradient: Tensor) -> None:
        """Score by the step's gradient."""
        if self.running:
            self.running[layer.name].add(layer.linear.weight, gradient)

    def choose(self, scores: Mapping[str, Tensor], done: float) -> Mapping[str, Tensor]:
        """Return each layer's mask, of the scores' shape, when a share of the rounds has begun."""
        chosen = self.selection
        if chosen.scope is Scope.GLOBAL and self.running:
            scores = {name: normalised(score) for name, score in scores.items()}
        masks = select(
            scores,
            self.target.densities_at(done),
            selector=chosen.selector,
            scope=chosen.scope,
            value=chosen.value,
            keep_rows=chosen.keep_rows and self.structure is Structure.ELEMENT,
        )
        if self.structure is Structure.FILTER:
            masks = {name: with_best(mask, scores[name]) for name, mask in masks.items()}
        return masks

    def begin_round(self, done: float) -> None:
        """Choose anew."""
        scores = self.scores()
        if scores:
            self.masks.set(self.choose(scores, done))

    def finalise(self) -> None:
        """Choose for the last time where gradients score: before the first step they had not."""
        if self.running:
            self.begin_round(1.0)
        super().finalise()
