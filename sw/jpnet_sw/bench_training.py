"""Cost of sparsity in training: the time of a JPnet step against a dense step.

``python -m jpnet_sw.bench_training`` prints the measurement as JSON, or writes it to a given file.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from jpnet_spec.artefact import atomic_path
from jpnet_spec.topn import ThresholdMode, TopN, winners_for_rate
from jpnet_sw.models import build_model
from jpnet_sw.quantisation import CapturedLayer, capture
from jpnet_sw.recipe import preset
from jpnet_sw.recipe.augment import augment
from jpnet_sw.recipe.config import AugmentConfig, RecipeConfig
from jpnet_sw.recipe.epoch import EpochPlan, soften, train_step
from jpnet_sw.recipe.threads import one_thread
from jpnet_sw.sparsity import WeightMasks

__all__ = ["StepTimes", "bench_training", "main"]

_SHAPE = (1, 28, 28)
_RATES = (0.16, 0.24)
_IMAGES = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """Median processor times of one training step on one thread, as the recipes train.

    Time in which other programs had the processor is left out.

    Parameters
    ----------
    steps
        Steps measured of each kind, interleaved in one process.
    dense_ms
        Forward, backward and optimiser of the dense network, with augmentation and its dropout.
    jp_ms
        The same with weight masks, top-N filters and their dropout.
    distilled_ms
        The same again with the dense network's answers as a second target, kept from the images
        as they are: the step of the recipe.
    asked_ms
        The same again with the dense network asked about each batch.
    ratio, distilled_ratio, asked_ratio
        Median of the ratios to the dense step taken just before, so that a busy machine's drift
        cancels.
    """

    steps: int
    dense_ms: float
    jp_ms: float
    distilled_ms: float
    asked_ms: float
    ratio: float
    distilled_ratio: float
    asked_ratio: float


class _Stepper:
    """One network with its own optimiser, ready to take steps."""

    def __init__(
        self,
        recipe: RecipeConfig,
        *,
        sparse: bool = True,
        teacher: nn.Module | None = None,
        answers: Tensor | None = None,
    ) -> None:
        torch.manual_seed(0)
        self.model = build_model(recipe.model, _SHAPE)
        layers = [layer for layer in capture(self.model) if isinstance(layer, CapturedLayer)]
        masks = WeightMasks({layer.name: layer.linear.weight for layer in layers if sparse})
        if sparse:
            names = [layer.name for layer in layers]
            masks.tighten(dict(zip(names, recipe.prune.densities, strict=True)))
        for layer, rate in zip(layers, _RATES, strict=False):
            assert layer.top_n is not None
            assert layer.dropout is not None
            winners = winners_for_rate(rate, len(layer.linear.weight))
            layer.top_n.top_n = TopN(
                mode=ThresholdMode.EXACT if sparse else ThresholdMode.NONE, winners=winners
            )
            shrunk = recipe.top_n.dropout_factor * sqrt(rate)
            layer.dropout.p = shrunk if sparse else recipe.dense.dropout
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=True)
        self.plan = EpochPlan(
            recipe=recipe,
            learning_rate=1e-4,
            first_step=0,
            stage_steps=1,
            masks=masks,
            teacher=teacher,
            answers=answers,
        )

    def seconds(self, images: Tensor, labels: Tensor, chosen: Tensor) -> float:
        """Take one step on chosen images and return its processor time."""
        start = time.thread_time()
        moved = augment(images[chosen], self.plan.recipe.augment)
        answers = None if self.plan.answers is None else self.plan.answers[chosen]
        train_step(
            self.model, self.optimiser, moved, labels[chosen], plan=self.plan, answers=answers
        )
        return time.thread_time() - start


def bench_training(*, steps: int = 300, augmented: bool = True, dropout: bool = True) -> StepTimes:
    """Measure the steps of the recipe ``mlp3-mnist`` on random images.

    Parameters
    ----------
    steps
        Of each kind, at least 1.
    augmented
        Whether each step deforms its images, as the recipe's do.
    dropout
        Whether each step has its recipe's dropout; the dense step has most of it, and drawing it
        takes longer than finding the winners.

    Raises
    ------
    ValueError
        If there are no steps.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps!r}")
    recipe = preset("mlp3", "mnist")
    if not augmented:
        recipe = replace(recipe, augment=AugmentConfig())
    if not dropout:
        recipe = replace(
            recipe,
            dense=replace(recipe.dense, dropout=0.0),
            top_n=replace(recipe.top_n, dropout_factor=0.0),
        )
    with one_thread():
        times = _times(recipe, steps)
    milliseconds = [1000 * median(found) for found in times]
    ratios = [
        median(taken / base for taken, base in zip(found, times[0], strict=True)) for found in times
    ]
    return StepTimes(
        steps=steps,
        dense_ms=milliseconds[0],
        jp_ms=milliseconds[1],
        distilled_ms=milliseconds[2],
        asked_ms=milliseconds[3],
        ratio=ratios[1],
        distilled_ratio=ratios[2],
        asked_ratio=ratios[3],
    )


def _times(recipe: RecipeConfig, steps: int) -> list[list[float]]:
    """Return the seconds of each step, for each kind of step."""
    torch.manual_seed(0)
    images = torch.rand(_IMAGES, *_SHAPE)
    labels = torch.randint(0, 10, (_IMAGES,))
    teacher = build_model(recipe.model, _SHAPE).eval().requires_grad_(False)
    kinds = [
        _Stepper(recipe, sparse=False),
        _Stepper(recipe),
        _Stepper(recipe, answers=soften(teacher(images), recipe.distill.temperature)),
        _Stepper(recipe, teacher=teacher),
    ]
    times: list[list[float]] = [[] for _ in kinds]
    for step in range(steps + 20):
        chosen = torch.randperm(_IMAGES)[: recipe.batch_size]
        for kind, found in zip(kinds, times, strict=True):
            seconds = kind.seconds(images, labels, chosen)
            if step >= 20:  # the first ones allocate
                found.append(seconds)
    return times


def main() -> int:
    """Measure as the recipe trains, without augmentation, and without dropout too.

    The measurements are written to the file that the command line names, or printed.
    """
    result = {
        "recipe": asdict(bench_training()),
        "plain": asdict(bench_training(augmented=False)),
        "bare": asdict(bench_training(augmented=False, dropout=False)),
    }
    text = json.dumps(result, indent=1) + "\n"
    if sys.argv[1:]:
        with atomic_path(Path(sys.argv[1])) as temporary:
            temporary.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
