"""Convolutional networks."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from jpnet_sw.layout import channels_last
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["ConvolutionalNetwork", "convnet5", "lenet4"]

_CLASSES = 10


class ConvolutionalNetwork(nn.Sequential):
    """A chain of modules that takes images and works on them channels last."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits.

        Parameters
        ----------
        images : float32, shape (images, channels, height, width), 0 to 1
        """
        tensor = channels_last(images)
        for module in self:
            tensor = module(tensor)
        return tensor


def lenet4(image_shape: tuple[int, ...]) -> ConvolutionalNetwork:
    """Build LeNet-4: 20 and 50 kernels of 5x5, each pooled 2x2, 500 neurons, ten classes.

    For images of 28x28 that is 20@24x24, 50@8x8, 800-500-10 and 2,293,000 MACs. After each hidden
    layer come ReLU and the top-N filter, which begins switched off; pooling follows the filter.

    Parameters
    ----------
    image_shape
        Channels, height and width; the model takes float images of that shape, 0 to 1.
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = image_shape[0]
    for index, outputs in enumerate((20, 50), start=1):
        modules[f"conv{index}"] = nn.Conv2d(inputs, outputs, 5)
        modules[f"relu{index}"] = nn.ReLU()
        modules[f"top_n{index}"] = TopNFilter()
        modules[f"pool{index}"] = nn.MaxPool2d(2)
        inputs = outputs
    _add_classifier(modules, image_shape, hidden=(500,))
    return ConvolutionalNetwork(modules)


def convnet5(image_shape: tuple[int, ...]) -> ConvolutionalNetwork:
    """Build ConvNet-5: twice 64 kernels of 5x5, pooled 3x3 with stride 2, 384, 192, ten classes.

    The network of TensorFlow's CIFAR-10 tutorial (IPnet, table 3) for crops of 24x24: 64@24x24,
    64@12x12, 2304-384-192-10 and 18,470,784 MACs. Batch normalisation of the convolutions stands
    in for the local response normalisation; it is folded into their weights at export. Pooling
    follows the top-N filter and rounds up.

    Parameters
    ----------
    image_shape
        Channels, height and width; the model takes float images of that shape, 0 to 1.
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = image_shape[0]
    for index, outputs in enumerate((64, 64), start=1):
        modules[f"conv{index}"] = nn.Conv2d(inputs, outputs, 5, padding=2, bias=False)
        modules[f"norm{index}"] = nn.BatchNorm2d(outputs)
        modules[f"relu{index}"] = nn.ReLU()
        modules[f"top_n{index}"] = TopNFilter()
        modules[f"pool{index}"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        inputs = outputs
    _add_classifier(modules, image_shape, hidden=(384, 192))
    return ConvolutionalNetwork(modules)


def _add_classifier(
    modules: OrderedDict[str, nn.Module], image_shape: tuple[int, ...], *, hidden: tuple[int, ...]
) -> None:
    """Append fully connected layers that take what the modules before them make."""
    with torch.no_grad():
        inputs = ConvolutionalNetwork(modules).eval()(torch.zeros(1, *image_shape)).numel()
    modules["flatten"] = nn.Flatten()
    first = 1 + sum(isinstance(module, nn.Conv2d) for module in modules.values())
    for index, outputs in enumerate(hidden):
        modules[f"fc{index + 1}"] = nn.Linear(inputs, outputs)
        modules[f"relu{first + index}"] = nn.ReLU()
        modules[f"top_n{first + index}"] = TopNFilter()
        modules[f"dropout{first + index}"] = nn.Dropout(0.0)
        inputs = outputs
    modules[f"fc{len(hidden) + 1}"] = nn.Linear(inputs, _CLASSES)
