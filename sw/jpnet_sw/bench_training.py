"""Cost of sparsity in training: the time of a JPnet step against a dense step.

``python -m jpnet_sw.bench_training`` prints the measurement as JSON.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from statistics import median

import torch
from torch import nn

from jpnet_spec.topn import ThresholdMode, TopN, winners_for_rate
from jpnet_sw.models import build_model
from jpnet_sw.quantisation import CapturedLayer, capture
from jpnet_sw.recipe import preset
from jpnet_sw.recipe.augment import augment
from jpnet_sw.recipe.config import AugmentConfig, RecipeConfig
from jpnet_sw.recipe.epoch import EpochPlan, train_step
from jpnet_sw.sparsity import WeightMasks

__all__ = ["StepTimes", "bench_training", "main"]

_SHAPE = (1, 28, 28)
_RATES = (0.16, 0.24)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """Median times of one training step.

    Parameters
    ----------
    steps
        Steps measured of each kind, interleaved in one process.
    threads
        Of torch.
    dense_ms
        Forward, backward and optimiser of the dense network, with augmentation and dropout.
    jp_ms
        The same with weight masks and top-N filters.
    distilled_ms
        The same again with the dense network's answers as a second target.
    ratio, distilled_ratio
        Median of the ratios to the dense step taken just before, so that a busy machine's drift
        cancels.
    """

    steps: int
    threads: int
    dense_ms: float
    jp_ms: float
    distilled_ms: float
    ratio: float
    distilled_ratio: float


class _Stepper:
    """One network with its own optimiser, ready to take steps."""

    def __init__(self, recipe: RecipeConfig, *, sparse: bool, teacher: nn.Module | None) -> None:
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
            layer.dropout.p = recipe.dense.dropout
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=True)
        self.plan = EpochPlan(
            recipe=recipe,
            learning_rate=1e-4,
            first_step=0,
            stage_steps=1,
            masks=masks,
            teacher=teacher,
        )

    def seconds(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Take one step and return its time."""
        start = time.perf_counter()
        moved = augment(images, self.plan.recipe.augment)
        train_step(self.model, self.optimiser, moved, labels, plan=self.plan)
        return time.perf_counter() - start


def bench_training(*, steps: int = 300, augmented: bool = True) -> StepTimes:
    """Measure the steps of the recipe ``mlp3-mnist`` on random images.

    Parameters
    ----------
    steps
        Of each kind, at least 1.
    augmented
        Whether each step deforms its images, as the recipe's do.

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
    teacher = build_model(recipe.model, _SHAPE).eval().requires_grad_(False)
    kinds = [
        _Stepper(recipe, sparse=False, teacher=None),
        _Stepper(recipe, sparse=True, teacher=None),
        _Stepper(recipe, sparse=True, teacher=teacher),
    ]
    images = torch.rand(recipe.batch_size, *_SHAPE)
    labels = torch.randint(0, 10, (recipe.batch_size,))
    times: list[list[float]] = [[] for _ in kinds]
    for step in range(steps + 20):
        for kind, found in zip(kinds, times, strict=True):
            seconds = kind.seconds(images, labels)
            if step >= 20:  # the first ones allocate
                found.append(seconds)
    dense, sparse, distilled = (1000 * median(found) for found in times)
    return StepTimes(
        steps=steps,
        threads=torch.get_num_threads(),
        dense_ms=dense,
        jp_ms=sparse,
        distilled_ms=distilled,
        ratio=median(jp / base for jp, base in zip(times[1], times[0], strict=True)),
        distilled_ratio=median(jp / base for jp, base in zip(times[2], times[0], strict=True)),
    )


def main() -> int:
    """Print the measurement with and without augmentation."""
    result = {}
    for name, augmented in (("augmented", True), ("plain", False)):
        result[name] = asdict(bench_training(augmented=augmented))
    json.dump(result, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
