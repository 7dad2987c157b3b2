"""What lanes should share evenly when channels are dealt to them."""

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.convolution import Convolution
from jpnet_spec.network import Layer
from jpnet_sw.compiler.work import kernel_row_work

__all__ = ["dealt_loads"]


def dealt_loads(
    layer: Layer,
    convolution: Convolution,
    config: AcceleratorConfig,
    *,
    input_activity: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the loads of a layer that lanes should share evenly.

    A cluster reads a row of the input for one row of the kernel after the other. The lanes' queues
    smooth what is uneven in a short row, so that only the sum counts; in a long one, lanes with
    little work for this row of the kernel wait for the others.

    Parameters
    ----------
    layer, convolution, config, input_activity
        As in `jpnet_sw.compiler.work.convolution_work`.

    Returns
    -------
    float64, shape (oc, (kernel_rows + 1) * clusters * images)
    """
    work = kernel_row_work(layer, convolution, config, input_activity=input_activity)
    survivors = input_activity.sum() / len(input_activity) / convolution.input_shape[1]
    # Queues hold as many activations as they are deep, which differ by a share of that; the factor
    # was found with random masks.
    smoothed = config.groups * config.fifo_depth**2 / 2
    share = survivors / (survivors + smoothed)
    by_row, whole = work.reshape(len(work), -1), work.sum(axis=1)
    return np.concatenate([share * by_row, (1 - share) * whole], axis=1)
