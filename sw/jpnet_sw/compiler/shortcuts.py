"""How a residual layer's shortcut reaches the sums that it is added to."""

import numpy as np

from jpnet_spec.convolution import Convolution
from jpnet_spec.layer import INPUT, Layer, LayerOp
from jpnet_spec.shortcut import ShortcutKind
from jpnet_spec.window import Window

__all__ = ["is_carried", "shortcut_layer"]


def is_carried(layer: Layer) -> bool:
    """Return whether the drain reads the shortcut's tensor, channel by channel, as it is stored.

    Any other shortcut is summed by the lanes into accumulators of its own.
    """
    shortcut = layer.shortcut
    if shortcut is None or layer.inputs[1] == INPUT:
        return False
    return shortcut.stride == 1 and shortcut.input_shape[0] == len(layer.weight)


def shortcut_layer(layer: Layer) -> Layer | None:
    """Return a convolution whose sums are what a layer adds; None where there is none to sum."""
    shortcut = layer.shortcut
    if shortcut is None or is_carried(layer):
        return None
    channels = shortcut.input_shape[0]
    squares = shortcut.kind is ShortcutKind.AVERAGE
    window = Window(size=(shortcut.stride,) * 2 if squares else (1, 1), stride=shortcut.stride)
    weight = np.zeros((len(layer.weight), channels, *window.size), dtype=np.int8)
    weight[shortcut.first_channel + np.arange(channels), np.arange(channels)] = 1
    return Layer(
        name=f"{layer.name} shortcut",
        op=LayerOp.CONVOLUTION,
        inputs=layer.inputs[1:],
        weight=weight,
        bias=np.zeros(len(weight), dtype=np.int32),
        multiplier=np.zeros(len(weight), dtype=np.uint16),
        negative_multiplier=np.zeros(len(weight), dtype=np.uint16),
        shift=0,
        convolution=Convolution(input_shape=shortcut.input_shape, window=window),
    )
