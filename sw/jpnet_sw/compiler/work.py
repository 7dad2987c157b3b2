"""How many products each output channel is expected to need from each cluster's multipliers."""

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.convolution import Convolution
from jpnet_spec.network import Layer

__all__ = ["convolution_work", "fully_connected_work"]


def fully_connected_work(
    layer: Layer,
    config: AcceleratorConfig,
    *,
    input_clusters: NDArray[np.int64],
    input_activity: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the work of a layer whose inputs the clusters share.

    Parameters
    ----------
    layer
        Fully connected.
    config
        The accelerator.
    input_clusters : int64, shape (ic,)
        The cluster that reads each input.
    input_activity : float64, shape (ic,)
        How often each input survives.

    Returns
    -------
    float64, shape (oc, clusters)
    """
    work = np.zeros((len(layer.weight), config.clusters))
    for cluster in range(config.clusters):
        mine = input_clusters == cluster
        work[:, cluster] = (layer.weight[:, mine] != 0) @ input_activity[mine]
    return work


def convolution_work(
    layer: Layer,
    convolution: Convolution,
    config: AcceleratorConfig,
    *,
    input_activity: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the work of a layer whose output rows the clusters share.

    Parameters
    ----------
    layer
        A convolution or an average.
    convolution
        Its geometry.
    config
        The accelerator.
    input_activity : float64, shape (ic * height * width,)
        How often each input element survives.

    Returns
    -------
    float64, shape (oc, clusters)
    """
    rows, columns = convolution.output_size
    block_rows = 1 if layer.pool is None else layer.pool.stride
    owner = np.arange(rows) // block_rows % config.clusters
    owned = (owner[:, None] == np.arange(config.clusters)).astype(np.float64)
    activity = convolution.window.pad(input_activity.reshape(convolution.input_shape), fill=0)
    kernel_rows, kernel_columns = convolution.window.size
    met = np.zeros((convolution.input_shape[0], kernel_rows, kernel_columns, config.clusters))
    for row in range(kernel_rows):
        for column in range(kernel_columns):
            places = convolution.window.slices(row, column, (rows, columns))
            met[:, row, column] = activity[:, *places].sum(axis=2) @ owned
    groups = convolution.channel_groups
    stored = (layer.weight != 0).reshape(groups, len(layer.weight) // groups, -1)
    work: NDArray[np.float64] = stored @ met.reshape(groups, stored.shape[2], config.clusters)
    return work.reshape(-1, config.clusters)
