"""A finished training and its weight-pruned network, which studies begin with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jpnet_spec.artefact import ArtefactError, read_artefact
from jpnet_sw.data import Dataset, centre_crop, load_dataset
from jpnet_sw.quantisation import Captured, capture
from jpnet_sw.recipe import RecipeConfig
from jpnet_sw.recipe.settings import recipe_from_settings
from jpnet_sw.recipe.state import CHECKPOINT_KIND, TrainingState
from jpnet_sw.recipe.train import MODEL_FILE, PRUNED_FILE
from jpnet_sw.recipe.workers import training_device

__all__ = ["PrunedRun", "activation_layers"]


def activation_layers(model: nn.Module) -> list[Captured]:
    """Return the layers whose outputs are filtered, and the last one, which gives the logits."""
    layers = capture(model)
    return [layer for layer in layers[:-1] if layer.top_n is not None] + layers[-1:]


@dataclass(frozen=True, kw_only=True, slots=True)
class PrunedRun:
    """What `jpnet_sw.recipe.train` left in its folder.

    Parameters
    ----------
    folder
        Of the run.
    recipe, seed, taught_by
        It was trained with, see `jpnet_sw.recipe.state.TrainingState`.
    content_hash
        Of the weight-pruned network's file.
    """

    folder: Path
    recipe: RecipeConfig
    seed: int
    taught_by: Mapping[str, str]
    content_hash: str

    @classmethod
    def read(cls, folder: Path) -> "PrunedRun":
        """Return the run in a folder.

        Raises
        ------
        ArtefactError
            If its weight-pruned network is missing or damaged, or of another version.
        """
        path = folder / PRUNED_FILE
        if not path.is_file():
            raise ArtefactError(f"{path}: missing, `jpnet train` makes it")
        header, _ = read_artefact(path, kind=CHECKPOINT_KIND)
        try:
            recipe = recipe_from_settings(header["recipe"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{path}: {error}") from error
        return cls(
            folder=folder,
            recipe=recipe,
            seed=int(header["seed"]),
            taught_by=dict(header["teacher"]),
            content_hash=header["content_hash"],
        )

    @property
    def pruned_file(self) -> Path:
        """The weight-pruned network."""
        return self.folder / PRUNED_FILE

    @property
    def model_file(self) -> Path:
        """The finished integer network."""
        return self.folder / MODEL_FILE

    def dataset(self, data_root: Path | None) -> Dataset:
        """Return the data set it was trained on."""
        return load_dataset(self.recipe.dataset, data_root)

    def first_images(self, dataset: Dataset, count: int) -> NDArray[np.uint8]:
        """Return the first training images, cut to what the network takes.

        Parameters
        ----------
        dataset
            The run's.
        count
            How many.

        Raises
        ------
        ValueError
            If there are fewer.
        """
        images = dataset.train_images
        if not 1 <= count <= len(images):
            raise ValueError(f"{dataset.name} has {len(images):,} training images, not {count:,}")
        return centre_crop(images[:count], self.recipe.image_shape(dataset.image_shape))

    def state(self, dataset: Dataset, *, device: str | None = None) -> TrainingState:
        """Return the run as its weights were pruned: no filter yet, the dense network beside it.

        Parameters
        ----------
        dataset
            The run's.
        device
            Torch device; CUDA where there is one, else the CPU.
        """
        place: torch.device = training_device(device)
        shape = self.recipe.image_shape(dataset.image_shape)
        state = TrainingState.begin(self.recipe, seed=self.seed, image_shape=shape, device=place)
        state.taught_by = dict(self.taught_by)
        state.adopt_pruned(self.pruned_file)
        return state
