"""What a step costs the lanes and the clusters in some images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_sw.compiler.steps import Step
from jpnet_sw.compiler.tensors import Tensor
from jpnet_sw.compiler.work import (
    convolution_tokens,
    convolution_work,
    fully_connected_tokens,
    fully_connected_work,
)

__all__ = ["Work", "step_work"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Work:
    """Expected work of a step.

    Parameters
    ----------
    products : float64, shape (lanes, rows, clusters, images)
        Of each channel row in each lane.
    tokens : float64, shape (clusters, images)
        Activations that a cluster sends to its groups for each range of channel rows.
    """

    products: NDArray[np.float64]
    tokens: NDArray[np.float64]


def step_work(
    step: Step, source: Tensor, target: Tensor, input_activity: NDArray[np.float64]
) -> Work:
    """Return the work of a step.

    Parameters
    ----------
    step
        The step.
    source, target
        What it reads and what it drains.
    input_activity : float64, shape (images, elements)
        Which elements of the source survive in each image.
    """
    config, layer = target.layout.config, step.walked
    if layer.convolution is None:
        products = fully_connected_work(
            layer, config, input_clusters=source.clusters, input_activity=input_activity
        )
        tokens = fully_connected_tokens(
            config, input_clusters=source.clusters, input_activity=input_activity
        )
    else:
        products = convolution_work(layer, layer.convolution, config, input_activity=input_activity)
        tokens = convolution_tokens(layer, layer.convolution, config, input_activity=input_activity)
    by_lane = np.zeros((target.layout.channel_rows * config.lanes, *tokens.shape))
    by_lane[target.positions] = products.reshape(-1, *tokens.shape)
    return Work(
        products=by_lane.reshape(-1, config.lanes, *tokens.shape).swapaxes(0, 1), tokens=tokens
    )
