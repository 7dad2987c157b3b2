"""Who teaches: a trained network from a file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from jpnet_sw.models import load_checkpoint
from jpnet_sw.recipe.epoch import soften

__all__ = ["TeacherFile", "teacher_answers"]

_BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherFile:
    """A trained float network that teaches every stage, the dense one too.

    Parameters
    ----------
    path
        See `jpnet_sw.models.load_checkpoint`.
    model
        Name of its architecture.
    """

    path: Path
    model: str

    def load(self, image_shape: tuple[int, ...]) -> nn.Module:
        """Return the network, which takes whole images from 0 to 1.

        Raises
        ------
        ValueError
            If the model is unknown or the file holds no such network.
        """
        return load_checkpoint(self.path, self.model, image_shape)

    def identity(self) -> dict[str, str]:
        """Return model, file name and checksum, for checkpoints and model files."""
        checksum = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {"model": self.model, "file": self.path.name, "sha256": checksum}


@torch.no_grad()
def teacher_answers(
    teacher: nn.Module, images: Tensor, *, temperature: float, mirrored: bool
) -> Tensor:
    """Return a teacher's softened answer to each image as it is.

    Parameters
    ----------
    teacher
        In evaluation mode, where the images are.
    images : float32, shape (images, channels, height, width), 0 to 1
    temperature
        Divides the logits, see `jpnet_sw.recipe.epoch.soften`.
    mirrored
        Whether to take the mean of the answers to the image and to its mirror image.

    Returns
    -------
    Tensor
        float32, shape (images, classes); rows add up to 1.
    """
    answers = []
    for batch in torch.split(images, _BATCH):
        answer = soften(teacher(batch), temperature)
        if mirrored:
            answer = (answer + soften(teacher(batch.flip(dims=(3,))), temperature)) / 2
        answers.append(answer)
    return torch.cat(answers)
