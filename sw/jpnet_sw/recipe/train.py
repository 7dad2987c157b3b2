"""The recipe from the first dense epoch to ``model.safetensors``."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from jpnet_spec.model_file import load_network, save_network
from jpnet_sw.data import Dataset, centre_crop, load_dataset
from jpnet_sw.metrics import accuracy
from jpnet_sw.models import build_model, is_convertible, read_checkpoint
from jpnet_sw.recipe.choices import adapted
from jpnet_sw.recipe.config import RecipeConfig
from jpnet_sw.recipe.finished import finished_network
from jpnet_sw.recipe.history import HISTORY_FILE, write_history
from jpnet_sw.recipe.images import float_images, split_held_out
from jpnet_sw.recipe.presets import preset
from jpnet_sw.recipe.progress import TrainingProgress
from jpnet_sw.recipe.stages import Run, choose_filters, run_stages
from jpnet_sw.recipe.state import Stage, TrainingState
from jpnet_sw.recipe.teacher import TeacherFile
from jpnet_sw.recipe.threads import one_thread
from jpnet_sw.recipe.workers import Workers, join_workers, training_device

__all__ = ["ANSWERS_FILE", "CHECKPOINT_FILE", "HISTORY_FILE", "MODEL_FILE", "PRUNED_FILE", "train"]

MODEL_FILE = "model.safetensors"
"""The trained integer network in the output folder."""

CHECKPOINT_FILE = "checkpoint.safetensors"
"""Where `train` continues after a kill; gone when it has finished."""

ANSWERS_FILE = "teacher-answers.safetensors"
"""What a teacher from a file answers to the training images; gone when `train` has finished."""

PRUNED_FILE = "weight-pruned.safetensors"
"""The float network between the stages PRUNE and TOP_N, which other filters can begin with."""


def train(
    *,
    model: str,
    data: str,
    seed: int,
    out: Path,
    data_root: Path | None = None,
    resume: bool = False,
    warm_start: Path | None = None,
    recipe: RecipeConfig | None = None,
    teacher: TeacherFile | None = None,
    device: str | None = None,
    quiet: bool = False,
    dense: Path | None = None,
    pruned: Path | None = None,
) -> Path:
    """Train a JPnet and export it as an integer network.

    Under ``torchrun`` all its processes train together; the first one writes.

    Parameters
    ----------
    model, data
        Names of a model and a data set.
    seed
        Decides everything random, at least 0.
    out
        Folder for `MODEL_FILE`, `HISTORY_FILE`, `PRUNED_FILE` and, while training,
        `CHECKPOINT_FILE` and `ANSWERS_FILE`.
    data_root
        The user's folder of data sets; None downloads.
    resume
        Continue from the folder's checkpoint, if there is one, to the same bits that an
        uninterrupted run gives on this kind of device.
    warm_start
        A trained dense network of the same model, see `jpnet_sw.models.read_checkpoint`; the dense
        stage is left out. With post-activation blocks where the model has pre-activation ones it
        is converted, see `jpnet_sw.models.begin_converted`, and the dense stage adapts it, see
        `jpnet_sw.recipe.choices.adapted`. A checkpoint of this training goes before it.
    recipe
        Another recipe than the preset of model and data set.
    teacher
        Teaches all stages instead of the dense network's teaching the sparse one.
    device
        Torch device; CUDA where there is one, else the CPU.
    quiet
        Show no progress.
    dense
        Checkpoint of the finished dense stage, which several recipes may share: taken over where
        the file exists, else written. The result is the same to the bit.
    pruned
        `PRUNED_FILE` of a run of the same seed and teacher whose recipe may differ in winner rates
        and quantisation: only what comes after it is done.

    Returns
    -------
    Path
        The model file.

    Raises
    ------
    ValueError
        If a name is unknown, data is missing or damaged, or the checkpoint does not fit.
    """
    recipe = preset(model, data) if recipe is None else recipe
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed!r}")
    dataset = load_dataset(data, data_root)
    place = training_device(device)
    shape = recipe.image_shape(dataset.image_shape)
    with one_thread(), join_workers(place) as workers:
        workers.check_batch(recipe.batch_size)
        start = None if warm_start is None else read_checkpoint(warm_start, channels=shape[0])
        converts = start is not None and is_convertible(start, build_model(model, shape))
        if converts:
            recipe = adapted(recipe)
        state = TrainingState.begin(recipe, seed=seed, image_shape=shape, device=place)
        asked = None
        if teacher is not None:
            asked = teacher.load(dataset.image_shape).to(place)
            state.taught_by = teacher.identity()
        if start is not None and converts:
            images = split_held_out(dataset, recipe, place)
            state.begin_converted(start, images.calibration_images)
        elif start is not None:
            state.begin_trained(start)
        checkpoint = out / CHECKPOINT_FILE
        unfiltered = False
        if resume and checkpoint.is_file():
            state.restore(checkpoint)
        elif resume and _is_finished(out / MODEL_FILE, state):
            return out / MODEL_FILE
        elif pruned is not None:
            state.adopt_pruned(pruned)
            unfiltered = True
        elif dense is not None and dense.is_file():
            state.adopt_dense(dense)
        out.mkdir(parents=True, exist_ok=True)
        return _train(
            state,
            dataset,
            out=out,
            teacher=asked,
            workers=workers,
            quiet=quiet,
            dense=dense,
            unfiltered=unfiltered,
        )


def _train(
    state: TrainingState,
    dataset: Dataset,
    *,
    out: Path,
    teacher: nn.Module | None,
    workers: Workers,
    quiet: bool,
    dense: Path | None,
    unfiltered: bool,
) -> Path:
    recipe, place, checkpoint = state.recipe, state.device, out / CHECKPOINT_FILE
    images = split_held_out(dataset, recipe, place)
    with TrainingProgress(recipe, quiet=quiet or not workers.leads) as progress:
        test_images = float_images(centre_crop(dataset.test_images, state.image_shape), place)
        test_labels = torch.from_numpy(dataset.test_labels.astype(np.int64)).to(place)

        def test_accuracy() -> float:
            return accuracy(state.trained, test_images, test_labels)

        run = Run(
            state=state,
            images=images,
            progress=progress,
            teacher=teacher,
            test_accuracy=test_accuracy,
            workers=workers,
            answers_file=out / ANSWERS_FILE,
        )
        if unfiltered:
            choose_filters(run)
        for _ in run_stages(run):
            if workers.leads:
                state.save(checkpoint)
                _keep_stage(state, dense=dense, pruned=out / PRUNED_FILE)
                write_history(out / HISTORY_FILE, state)
            workers.wait()
            if not workers.leads:
                state.restore(checkpoint)
            workers.wait()
    if workers.leads:
        _export(state, dataset, out)
    workers.wait()
    return out / MODEL_FILE


def _keep_stage(state: TrainingState, *, dense: Path | None, pruned: Path) -> None:
    """Keep what other runs may begin with when its stage has just ended."""
    if dense is not None and state.stage is Stage.PRUNE and state.epoch == 0:
        state.save(dense)
    if state.stage is Stage.TOP_N and state.epoch == 0:
        state.save(pruned)


def _is_finished(path: Path, state: TrainingState) -> bool:
    if not path.is_file():
        return False
    made = load_network(path).metadata
    settings = made.get("recipe_settings")
    same = settings is None or settings == state.recipe.settings()
    wanted = (state.recipe.name, state.seed, state.taught_by)
    return same and (made.get("recipe"), made.get("seed"), made.get("teacher", {})) == wanted


def _export(state: TrainingState, dataset: Dataset, out: Path) -> None:
    assert state.stage is Stage.DONE
    network, counts = finished_network(state, dataset)
    save_network(network, out / MODEL_FILE)
    write_history(out / HISTORY_FILE, state, result=counts.summary())
    for name in (CHECKPOINT_FILE, ANSWERS_FILE):
        (out / name).unlink(missing_ok=True)
