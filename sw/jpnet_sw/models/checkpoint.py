"""Trained float networks that others published as safetensors files."""

import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from jpnet_spec.artefact import ArtefactError
from jpnet_sw.models.registry import build_model

__all__ = ["Checkpoint", "Normalise", "load_checkpoint", "read_checkpoint"]

_COUNTER = "num_batches_tracked"
"""A buffer of batch normalisation that no result depends on."""


class Normalise(nn.Module):
    """Subtracts each channel's mean and divides by its standard deviation.

    Parameters
    ----------
    mean, deviation
        Of each channel of the images.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised images, shape (images, channels, height, width)."""
        return (images - self.mean) / self.deviation


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Checkpoint:
    """The tensors of a trained network and what its images were normalised by.

    Parameters
    ----------
    path
        Where it was read.
    tensors
        State of the network, by the names of its modules.
    mean, deviation
        Of each channel, in images from 0 to 1; 0 and 1 where the file says nothing.
    """

    path: Path
    tensors: dict[str, Tensor]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def load_into(self, network: nn.Module) -> None:
        """Give a network that takes normalised images its state.

        Raises
        ------
        ArtefactError
            If a tensor is missing, has another shape or belongs to no module.
        """
        state = network.state_dict()
        wanted = {name: value for name, value in state.items() if not name.endswith(_COUNTER)}
        for name, value in wanted.items():
            if name not in self.tensors:
                raise ArtefactError(f"{self.path}: tensor {name!r} must be there, but is missing")
            shape = tuple(self.tensors[name].shape)
            if shape != tuple(value.shape):
                raise ArtefactError(
                    f"{self.path}: tensor {name!r} must have shape {tuple(value.shape)}, "
                    f"not {shape}"
                )
        for name in self.tensors:
            if name not in state:
                raise ArtefactError(f"{self.path}: tensor {name!r} is of no module of the model")
        network.load_state_dict({**state, **{name: self.tensors[name] for name in wanted}})

    @torch.no_grad()
    def fold_into(self, network: nn.Module) -> None:
        """Give a network that takes images from 0 to 1 the state, normalisation folded in.

        Where there is a normalisation, the first convolution's weights and the mean of the batch
        normalisation after it change. Outputs are the same but at the map's edges, where the
        convolution now pads with black and not with the mean colour.

        Raises
        ------
        ArtefactError
            If a tensor does not fit, or the network does not begin with such modules.
        """
        if not any(self.mean) and set(self.deviation) == {1.0}:
            self.load_into(network)
            return
        modules = [module for module in network.modules() if not list(module.children())]
        first, norm = modules[:2]
        if not isinstance(first, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            raise ArtefactError(
                f"{self.path}: the model must begin with Conv2d and BatchNorm2d, not "
                f"{type(first).__name__} and {type(norm).__name__}"
            )
        self.load_into(network)
        assert norm.running_mean is not None
        first.weight /= first.weight.new_tensor(self.deviation)[:, None, None]
        # (oc, channels, kh, kw)
        offset = first.weight * first.weight.new_tensor(self.mean)[:, None, None]
        norm.running_mean += offset.sum(dim=(1, 2, 3))


def read_checkpoint(path: Path, *, channels: int) -> Checkpoint:
    """Read a file of float tensors.

    The header's entry ``normalisation`` may say ``mean`` and ``std`` with a number for each
    channel of the images, in this order.

    Parameters
    ----------
    path
        A safetensors file.
    channels
        Of the images.

    Raises
    ------
    ArtefactError
        If the file is missing or truncated, a tensor is not float, or the normalisation has other
        channels.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        raise ArtefactError(f"{path}: truncated or not a safetensors file ({error})") from error
    tensors = {name: value for name, value in tensors.items() if not name.endswith(_COUNTER)}
    for name, value in tensors.items():
        if not value.is_floating_point():
            raise ArtefactError(
                f"{path}: tensor {name!r} must be of a float type, not {value.dtype}"
            )
    mean, deviation = _normalisation(path, metadata.get("normalisation"), channels)
    return Checkpoint(path=path, tensors=tensors, mean=mean, deviation=deviation)


def load_checkpoint(path: Path, model: str, image_shape: tuple[int, ...]) -> nn.Module:
    """Return a trained network, ready to be asked, that takes float images from 0 to 1.

    Parameters
    ----------
    path
        See `read_checkpoint`.
    model
        One of `jpnet_sw.models.model_names`.
    image_shape
        Channels, height and width.

    Raises
    ------
    ArtefactError
        If the file is damaged or holds another network.
    ValueError
        If the model is unknown.
    """
    network = build_model(model, image_shape)
    checkpoint = read_checkpoint(path, channels=image_shape[0])
    checkpoint.load_into(network)
    normalise = Normalise(checkpoint.mean, checkpoint.deviation)
    return nn.Sequential(OrderedDict(normalise=normalise, network=network)).eval()


def _normalisation(
    path: Path, text: str | None, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if text is None:
        return (0.0,) * channels, (1.0,) * channels
    number = r"\s+([0-9]*\.?[0-9]+)" * channels
    found = re.fullmatch(rf"\s*mean{number}\s+std{number}\s*", text)
    values = tuple(float(value) for value in found.groups()) if found else ()
    if not values or min(values[channels:]) <= 0:
        raise ArtefactError(
            f"{path}: normalisation must be 'mean' and 'std' with {channels} numbers each, "
            f"the latter positive, not {text!r}"
        )
    return values[:channels], values[channels:]
