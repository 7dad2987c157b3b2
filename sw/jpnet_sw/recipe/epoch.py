"""One epoch of one stage: the only training loop there is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, pi

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from jpnet_sw.recipe.augment import augment, random_crop
from jpnet_sw.recipe.config import RecipeConfig
from jpnet_sw.recipe.half_precision import half_precision
from jpnet_sw.recipe.workers import Workers
from jpnet_sw.sparsity.masks import WeightMasks
from jpnet_sw.sparsity.pruner import Pruner

__all__ = [
    "EpochPlan",
    "TrainingImages",
    "cosine_rate",
    "seed_epoch",
    "soften",
    "train_epoch",
    "train_step",
]

_WARM_UP_STEPS = 200


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingImages:
    """Training and held-out images as tensors on the training device.

    Parameters
    ----------
    images : float32, shape (images, channels, height, width), 0 to 1
        Whole, see `jpnet_sw.recipe.RecipeConfig.crop`.
    held_out_images, calibration_images : float32, shape (images, channels, height, width), 0 to 1
        Cropped; the calibration images are the first ones of `images`.
    labels, held_out_labels : int64, shape (images,)
    """

    images: Tensor
    labels: Tensor
    held_out_images: Tensor
    calibration_images: Tensor
    held_out_labels: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EpochPlan:
    """What an epoch does.

    Parameters
    ----------
    recipe
        Batch size, augmentation, distillation.
    learning_rate
        Of the stage, at the top of its cosine.
    first_step, stage_steps
        Steps of the stage before this epoch, and in all.
    masks
        Applied after every step.
    teacher
        Asked about every batch; None where `answers` says all, or nothing does.
    answers : float32, shape (images, classes)
        The teacher's softened answer to each of the training images, see `soften`.
    bfloat16
        Whether to multiply in bfloat16.
    label_smoothing
        Share of a label that is spread over all classes.
    share
        Of the batches of the training images, drawn at random.
    pruner
        What makes the masks, None where they are final.
    before_step
        Called with the step's number within the stage.
    after_step
        Called with the same number, for progress.
    workers
        Among whom each batch is divided.
    """

    recipe: RecipeConfig
    learning_rate: float
    first_step: int
    stage_steps: int
    masks: WeightMasks
    teacher: nn.Module | None = None
    answers: Tensor | None = None
    bfloat16: bool = False
    label_smoothing: float = 0.0
    share: float = 1.0
    pruner: Pruner | None = None
    before_step: Callable[[int], None] = lambda step: None
    after_step: Callable[[int], None] = lambda step: None
    workers: Workers = field(default_factory=Workers)


def seed_epoch(seed: int, stage: str, epoch: int) -> None:
    """Seed torch for one epoch, so that an epoch can be repeated without those before it."""
    words = [seed, *stage.encode(), epoch]
    torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1))


def cosine_rate(peak: float, step: int, steps: int) -> float:
    """Return a step's learning rate: a short rise, then a cosine down to almost 0."""
    rise = min(1.0, (step + 1) / min(_WARM_UP_STEPS, max(1, steps // 10)))
    return peak * rise * 0.5 * (1 + cos(pi * step / steps)) + 1e-6


def soften(logits: Tensor, temperature: float) -> Tensor:
    """Return the class probabilities that a teacher gives as the second target."""
    return functional.softmax(logits.float() / temperature, dim=1)


def _loss(logits: Tensor, labels: Tensor, answers: Tensor | None, plan: EpochPlan) -> Tensor:
    distill = plan.recipe.distill
    loss = functional.cross_entropy(logits, labels, label_smoothing=plan.label_smoothing)
    if answers is None:
        return loss
    heat = distill.temperature
    divergence = functional.kl_div(
        functional.log_softmax(logits / heat, dim=1), answers, reduction="batchmean"
    )
    return (1 - distill.weight) * loss + distill.weight * heat**2 * divergence


def train_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    *,
    plan: EpochPlan,
    answers: Tensor | None = None,
) -> Tensor:
    """Take one optimiser step and return the loss.

    Parameters
    ----------
    images : float32, shape (images, channels, height, width)
    labels : int64, shape (images,)
    answers : float32, shape (images, classes)
        The batch's rows of the plan's answers, if it has any.
    """
    with half_precision(images.device, wanted=plan.bfloat16):
        if plan.teacher is not None:
            with torch.no_grad():
                answers = soften(plan.teacher(images), plan.recipe.distill.temperature)
        logits = model(images).float()
    optimiser.zero_grad()
    loss = _loss(logits, labels, answers, plan)
    penalty = None if plan.pruner is None else plan.pruner.penalty()
    total = loss if penalty is None else loss + penalty
    total.backward()  # type: ignore[no-untyped-call]
    if plan.pruner is not None:
        plan.pruner.after_backward()
    optimiser.step()
    if plan.pruner is not None:
        plan.pruner.after_step(optimiser.param_groups[0]["lr"])
    plan.masks.apply()
    return loss.detach()


def train_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: TrainingImages,
    plan: EpochPlan,
) -> float:
    """Pass once over the plan's share of the training images and return the mean loss.

    They come in random order; those that do not fill a last batch are left to another epoch.
    """
    model.train()
    batch = min(plan.recipe.batch_size, len(data.images))
    order = torch.randperm(len(data.images))
    losses = []
    for index in range(max(1, int(len(data.images) // batch * plan.share))):
        step = plan.first_step + index
        chosen = order[index * batch : (index + 1) * batch].to(data.images.device)
        images = data.images[chosen]
        if plan.recipe.crop is not None:
            images = random_crop(images, (plan.recipe.crop, plan.recipe.crop))
        images = plan.workers.part(augment(images, plan.recipe.augment))
        plan.before_step(step)
        rate = cosine_rate(plan.learning_rate, step, plan.stage_steps)
        if plan.pruner is not None:
            rate = plan.pruner.learning_rate(rate)
        for group in optimiser.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        labels = plan.workers.part(data.labels[chosen])
        answers = None if plan.answers is None else plan.workers.part(plan.answers[chosen])
        losses.append(train_step(model, optimiser, images, labels, plan=plan, answers=answers))
        plan.after_step(step)
    return float(torch.stack(losses).mean())
