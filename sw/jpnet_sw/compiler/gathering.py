"""The average of whole maps: every position adds to the same outputs."""

from dataclasses import replace

import numpy as np

from jpnet_spec.layer import Layer
from jpnet_spec.window import Window

__all__ = ["gathering_layer"]


def gathering_layer(layer: Layer) -> Layer:
    """Return the average of single pixels, whose sums over all positions are those of whole maps.

    It has one list for each channel in place of one for each element.

    Parameters
    ----------
    layer
        An average whose window is the map.
    """
    assert layer.convolution is not None
    pixel = replace(layer.convolution, window=Window(size=(1, 1)))
    weight = np.ones((len(layer.weight), 1, 1, 1), dtype=np.int8)
    return replace(layer, weight=weight, convolution=pixel)
