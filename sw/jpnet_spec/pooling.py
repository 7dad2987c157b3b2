"""Max pooling of integer feature maps."""

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.window import Window

__all__ = ["max_pool"]


def max_pool(tensor: NDArray[np.int8], window: Window) -> NDArray[np.int8]:
    """Return the largest element under each window; padding never wins, not even over negatives.

    Parameters
    ----------
    tensor : int8, shape (images, channels, height, width), -127 to 127
    window
        Overlapping where its stride is smaller than its size.

    Returns
    -------
    int8, shape (images, channels, rows, columns)
    """
    rows, columns = window.output_size(*tensor.shape[2:])
    # -128 never occurs, and every window covers an element of the map.
    padded = window.pad(tensor, fill=-128)
    pooled = np.full((*tensor.shape[:2], rows, columns), -128, dtype=np.int8)
    for row in range(window.size[0]):
        for column in range(window.size[1]):
            met = padded[(..., *window.slices(row, column, (rows, columns)))]
            np.maximum(pooled, met, out=pooled)
    return pooled
