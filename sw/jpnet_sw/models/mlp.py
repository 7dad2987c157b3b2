"""Fully connected networks."""

from collections import OrderedDict
from math import prod

from torch import nn

from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["mlp3"]

_HIDDEN = (300, 100)
_CLASSES = 10


def mlp3(image_shape: tuple[int, ...]) -> nn.Sequential:
    """Build MLP-3: two hidden layers of 300 and 100 neurons, ten classes.

    784-300-100-10 for images of 28x28 (IPnet, section 4.1). After each hidden layer come ReLU, the
    top-N filter and dropout; filter and dropout begin switched off.

    Parameters
    ----------
    image_shape
        Channels, height and width; the model takes float images of that shape, 0 to 1.
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = prod(image_shape)
    for index, outputs in enumerate(_HIDDEN, start=1):
        modules[f"fc{index}"] = nn.Linear(inputs, outputs)
        modules[f"relu{index}"] = nn.ReLU()
        modules[f"top_n{index}"] = TopNFilter()
        modules[f"dropout{index}"] = nn.Dropout(0.0)
        inputs = outputs
    modules["fc3"] = nn.Linear(inputs, _CLASSES)
    return nn.Sequential(modules)
