"""The models by name."""

from collections.abc import Callable
from functools import partial

from torch import nn

from jpnet_sw.models.convolutional import convnet5, lenet4
from jpnet_sw.models.mlp import mlp3
from jpnet_sw.models.residual import BlockKind, resnet

__all__ = ["build_model", "model_names"]

_relu_resnet = partial(resnet, kind=BlockKind.POST_ACTIVATION, slope=0.0)

_BUILDERS: dict[str, Callable[[tuple[int, ...]], nn.Module]] = {
    "mlp3": mlp3,
    "lenet4": lenet4,
    "convnet5": convnet5,
    "resnet20": partial(resnet, layers=20),
    "resnet32": partial(resnet, layers=32),
    "resnet56": partial(resnet, layers=56),
    "resnet32-wide": partial(resnet, layers=32, width=10),
    "resnet20-relu": partial(_relu_resnet, layers=20),
    "resnet32-relu": partial(_relu_resnet, layers=32),
    "resnet56-relu": partial(_relu_resnet, layers=56),
}


def model_names() -> tuple[str, ...]:
    """Return the names that `build_model` knows."""
    return tuple(_BUILDERS)


def build_model(name: str, image_shape: tuple[int, ...]) -> nn.Module:
    """Build a model with freshly initialised weights.

    Parameters
    ----------
    name
        One of `model_names`.
    image_shape
        Channels, height and width of the images.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in _BUILDERS:
        raise ValueError(f"model must be one of {', '.join(_BUILDERS)}, not {name!r}")
    return _BUILDERS[name](image_shape)
