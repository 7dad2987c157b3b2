"""The stages of the recipe, one epoch at a time."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
from torch import Tensor, nn

from jpnet_spec.topn import ThresholdMode
from jpnet_sw.metrics import accuracy
from jpnet_sw.quantisation import QuantisedLayer
from jpnet_sw.recipe.config import (
    DenseConfig,
    FilterConfig,
    PruneConfig,
    QuantiseConfig,
    RateSearch,
    RecipeConfig,
    TeacherView,
)
from jpnet_sw.recipe.epoch import EpochPlan, TrainingImages, seed_epoch, train_epoch
from jpnet_sw.recipe.held_out import measure_held_out
from jpnet_sw.recipe.kept_answers import kept_answers
from jpnet_sw.recipe.progress import TrainingProgress
from jpnet_sw.recipe.state import Stage, TrainingState
from jpnet_sw.recipe.teacher import teacher_answers
from jpnet_sw.recipe.workers import Workers
from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.density import measure_density
from jpnet_sw.sparsity.joint_rates import choose_rates_jointly
from jpnet_sw.sparsity.sensitivity import choose_winner_rates

__all__ = ["Run", "choose_filters", "epoch_plan", "run_stages"]

_ORDER = tuple(Stage)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Run:
    """What the stages work on.

    Parameters
    ----------
    state
        Changed in place.
    images
        To train on and to choose by.
    progress
        Where it is shown.
    teacher
        Teaches every stage by its answers to whole training images; None lets the dense network
        teach the sparse one.
    test_accuracy
        Measures the current network on the test images; recorded, never used to choose.
    workers
        Who train together; only the one that leads measures, chooses and goes from stage to stage.
    answers_file
        Where the teacher's answers are kept, None where they are not.
    """

    state: TrainingState
    images: TrainingImages
    progress: TrainingProgress
    teacher: nn.Module | None = None
    test_accuracy: Callable[[], float]
    workers: Workers = field(default_factory=Workers)
    answers_file: Path | None = None

    def held_out_accuracy(self) -> float:
        """Return the current network's share of right answers on the held-out images."""
        trained = self.state.trained
        return accuracy(trained, self.images.held_out_images, self.images.held_out_labels)


def run_stages(run: Run) -> Iterator[None]:
    """Train to the end, yielding after each epoch, when the state may be saved."""
    state = run.state
    while state.stage is not Stage.DONE:
        epochs = _stage_config(state.recipe, state.stage).epochs
        start = process_time()
        if state.epoch < epochs:
            _train_one(run, epochs)
        if state.epoch >= epochs and run.workers.leads:
            _finish_stage(run)
        if state.history:
            state.history[-1]["cpu_seconds"] = round(process_time() - start, 3)
        yield


def _stage_config(
    recipe: RecipeConfig, stage: Stage
) -> DenseConfig | PruneConfig | FilterConfig | QuantiseConfig:
    configs: dict[Stage, DenseConfig | PruneConfig | FilterConfig | QuantiseConfig] = {
        Stage.DENSE: recipe.dense,
        Stage.PRUNE: recipe.prune,
        Stage.TOP_N: recipe.top_n,
        Stage.QUANTISE: recipe.quantise,
    }
    return configs[stage]


def epoch_plan(
    run: Run, *, epoch: int, epochs: int, learning_rate: float, share: float = 1.0
) -> EpochPlan:
    """Return what an epoch of the current stage does.

    Parameters
    ----------
    run
        Whose network is trained.
    epoch, epochs
        Number of the epoch, from 0, and how many share one cosine of learning rates.
    learning_rate
        At the top of that cosine.
    share
        Of the training images that an epoch passes over.
    """
    state, recipe = run.state, run.state.recipe
    per_epoch = max(1, int(len(run.images.images) // recipe.batch_size * share))
    steps = per_epoch * epochs
    pruner = state.pruner

    def before_step(step: int) -> None:
        if pruner is not None:
            clock = Clock(
                step=step,
                active_steps=max(1, int(recipe.prune.ramp * steps)),
                epoch_steps=per_epoch,
                images=len(run.images.images),
            )
            pruner.before_step(clock)

    teacher = run.teacher or state.teacher
    teaches = teacher is not None and recipe.distill.weight > 0
    once = run.teacher is not None or recipe.distill.view is TeacherView.CLEAN
    return EpochPlan(
        recipe=recipe,
        learning_rate=learning_rate,
        first_step=epoch * per_epoch,
        stage_steps=steps,
        masks=state.masks,
        teacher=teacher if teaches and not once else None,
        answers=_answers(run) if teaches and once else None,
        bfloat16=recipe.bfloat16 and state.stage is not Stage.QUANTISE,
        label_smoothing=recipe.dense.label_smoothing if state.stage is Stage.DENSE else 0.0,
        share=share,
        pruner=pruner,
        before_step=before_step,
        workers=run.workers,
    )


def _answers(run: Run) -> Tensor:
    """Return the teacher's answers to the training images as they are, asking once."""
    state, recipe = run.state, run.state.recipe
    if state.answers is None:
        teacher = run.teacher or state.teacher
        assert teacher is not None
        temperature, mirrored = recipe.distill.temperature, recipe.augment.flip
        ask = partial(
            teacher_answers,
            teacher,
            run.images.images,
            temperature=temperature,
            mirrored=mirrored,
        )
        if run.teacher is None or run.answers_file is None:
            state.answers = ask()
        else:
            question = {
                "teacher": state.taught_by,
                "dataset": recipe.dataset,
                "images": list(run.images.images.shape),
                "temperature": temperature,
                "mirrored": mirrored,
            }
            answers = kept_answers(run.answers_file, question, ask, writes=run.workers.leads)
            state.answers = answers.to(state.device)
    return state.answers


def _train_one(run: Run, epochs: int) -> None:
    state = run.state
    rate = _stage_config(state.recipe, state.stage).learning_rate
    plan = epoch_plan(run, epoch=state.epoch, epochs=epochs, learning_rate=rate)
    if state.stage is Stage.DENSE:
        state.set_dropout(state.recipe.dense.dropout)
    optimiser = state.optimiser or state.start_optimiser(plan.learning_rate)
    seed_epoch(state.seed, state.stage.value, state.epoch)
    loss = train_epoch(run.workers.join(state.trained), optimiser, run.images, plan)
    state.epoch += 1
    if run.workers.leads:
        _record_epoch(run, epochs, loss)


def _record_epoch(run: Run, epochs: int, loss: float) -> None:
    """Measure the network and put the epoch into the history."""
    state = run.state
    held_out = run.held_out_accuracy()
    layers = measure_density(
        state.trained,
        run.images.held_out_images,
        kinds=(nn.Linear, nn.Conv2d, QuantisedLayer),
    )
    pairs = sum(layer.macs_effective for layer in layers)
    dense = sum(layer.macs_dense for layer in layers)
    sizes = [mask.numel() for mask in state.masks.masks.values()]
    density = float(np.average(list(state.masks.densities().values()), weights=sizes))
    state.history.append(
        {
            "stage": state.stage.value,
            "epoch": state.epoch,
            "loss": loss,
            "held_out_accuracy": held_out,
            "weight_density": density,
            "macs_effective": pairs,
            "layers": [asdict(layer) for layer in layers],
        }
    )
    note = (
        f"accuracy {100 * held_out:.2f} %, weights {100 * density:.2f} %, "
        f"MACs {100 * pairs / dense:.3f} %"
    )
    run.progress.update(state.stage.value, state.epoch, epochs, note)


def _finish_stage(run: Run) -> None:
    state = run.state
    if state.stage is Stage.DENSE:
        _record(run, "accuracy_dense")
        state.set_dropout(0.0)
        state.start_teacher()
        state.start_pruner()
    elif state.stage is Stage.PRUNE:
        state.end_pruner()
        _record(run, "accuracy_weight_pruned")
        choose_filters(run)
    elif state.stage is Stage.TOP_N:
        _record(run, "accuracy_jp")
        state.quantise(run.images.calibration_images)
    state.stage = _ORDER[_ORDER.index(state.stage) + 1]
    state.epoch = 0
    state.optimiser = None


def _record(run: Run, key: str) -> None:
    run.state.facts[key] = run.test_accuracy()
    run.state.facts[f"held_out_{key}"] = run.held_out_accuracy()
    if run.state.quantised is None:
        layers = measure_density(run.state.model, run.images.held_out_images)
        stage = key.removeprefix("accuracy_")
        run.state.facts[f"layers_{stage}"] = [asdict(layer) for layer in layers]


def choose_filters(run: Run) -> None:
    """Choose the winner rates of the weight-pruned network and set its filters to them."""
    _choose_rates(run)
    run.state.set_filters()


def _choose_rates(run: Run) -> None:
    state, config = run.state, run.state.recipe.top_n
    filters = {
        layer.name: layer.top_n
        for layer in state.layers
        if layer.top_n is not None and config.mode_of(layer.name) is not ThresholdMode.NONE
    }
    if config.search is RateSearch.JOINT:
        choice = choose_rates_jointly(
            filters,
            state.elements,
            config.rates,
            config.tolerance_percent,
            lambda: measure_held_out(state.trained, run.images),
        )
        state.rates = choice.rates
        state.facts["scan"] = list(choice.points)
        state.facts["joint_search"] = {
            key: value for key, value in asdict(choice).items() if key not in {"points", "rates"}
        }
        return
    state.rates, scan = choose_winner_rates(
        filters,
        state.elements,
        config.rates,
        config.tolerance_percent,
        lambda: 100 * run.held_out_accuracy(),
        groups=state.recipe.grouped(filters),
    )
    state.facts["scan"] = [asdict(point) for point in scan]
