"""How many products and activations each cluster has in some images."""

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.convolution import Convolution
from jpnet_spec.network import Layer

__all__ = [
    "convolution_tokens",
    "convolution_work",
    "fully_connected_tokens",
    "fully_connected_work",
    "kernel_row_work",
]


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
    input_activity : float64, shape (images, ic)
        Which inputs survive in each image.

    Returns
    -------
    float64, shape (oc, clusters * images)
    """
    parts = [
        (layer.weight[:, mine] != 0) @ input_activity[:, mine].T
        for mine in (input_clusters == cluster for cluster in range(config.clusters))
    ]
    return np.concatenate(parts, axis=1)


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
    input_activity : float64, shape (images, ic * height * width)
        Which input elements survive in each image.

    Returns
    -------
    float64, shape (oc, clusters * images)
    """
    by_row = kernel_row_work(layer, convolution, config, input_activity=input_activity)
    work: NDArray[np.float64] = by_row.sum(axis=1)
    return work


def kernel_row_work(
    layer: Layer,
    convolution: Convolution,
    config: AcceleratorConfig,
    *,
    input_activity: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the work of a layer for each row of the kernel; parameters as `convolution_work`.

    Returns
    -------
    float64, shape (oc, kernel_rows, clusters * images)
    """
    rows, columns = convolution.output_size
    owned = _owned_rows(layer, convolution, config)
    images, inputs = len(input_activity), convolution.input_shape[0]
    activity = convolution.window.pad(
        input_activity.reshape(images, *convolution.input_shape), fill=0
    )
    kernel_rows, kernel_columns = convolution.window.size
    met = np.zeros((inputs, kernel_rows, kernel_columns, config.clusters, images))
    for row in range(kernel_rows):
        for column in range(kernel_columns):
            places = convolution.window.slices(row, column, (rows, columns))
            by_cluster = activity[:, :, *places].sum(axis=3) @ owned  # (images, ic, clusters)
            met[:, row, column] = by_cluster.transpose(1, 2, 0)
    groups, loads = convolution.channel_groups, config.clusters * images
    stored = (layer.weight != 0).reshape(groups, -1, inputs // groups, kernel_rows, kernel_columns)
    needs = met.reshape(groups, -1, kernel_rows, kernel_columns, loads)
    work: NDArray[np.float64] = np.einsum("goirc,gircl->gorl", stored, needs, optimize=True)
    return work.reshape(-1, kernel_rows, loads)


def fully_connected_tokens(
    config: AcceleratorConfig,
    *,
    input_clusters: NDArray[np.int64],
    input_activity: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return how many activations each cluster reads that survive, for a fully connected layer.

    Parameters
    ----------
    config
        The accelerator.
    input_clusters : int64, shape (ic,)
        The cluster that reads each input.
    input_activity : float64, shape (images, ic)
        Which inputs survive in each image.

    Returns
    -------
    float64, shape (clusters, images)
    """
    clusters = np.arange(config.clusters)
    tokens: NDArray[np.float64] = (clusters[:, None] == input_clusters) @ input_activity.T
    return tokens


def convolution_tokens(
    layer: Layer,
    convolution: Convolution,
    config: AcceleratorConfig,
    *,
    input_activity: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return how often each cluster reads activations that survive, for a convolution.

    Parameters
    ----------
    layer
        A convolution or an average.
    convolution
        Its geometry.
    config
        The accelerator.
    input_activity : float64, shape (images, ic * height * width)
        Which input elements survive in each image.

    Returns
    -------
    float64, shape (clusters, images)
    """
    rows, _ = convolution.output_size
    window, (_, height, _) = convolution.window, convolution.input_shape
    by_row = input_activity.reshape(len(input_activity), *convolution.input_shape).sum(axis=(1, 3))
    met = np.zeros((len(by_row), rows))
    for row in range(rows):
        first = row * window.stride - window.padding[0]
        met[:, row] = by_row[:, max(0, first) : min(height, first + window.size[0])].sum(axis=1)
    tokens: NDArray[np.float64] = (met @ _owned_rows(layer, convolution, config)).T
    return tokens


def _owned_rows(
    layer: Layer, convolution: Convolution, config: AcceleratorConfig
) -> NDArray[np.float64]:
    """Return which cluster has each output row, 0 or 1, shape (rows, clusters)."""
    block_rows = 1 if layer.pool is None else layer.pool.stride
    owner = np.arange(convolution.output_size[0]) // block_rows % config.clusters
    owned: NDArray[np.float64] = (owner[:, None] == np.arange(config.clusters)).astype(np.float64)
    return owned
