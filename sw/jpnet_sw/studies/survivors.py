"""Outputs of activation functions and filters, before pooling, in float and in integers."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jpnet_spec.layer import INPUT
from jpnet_spec.network import IntegerNetwork
from jpnet_sw.quantisation import Captured
from jpnet_sw.quantisation.graph import run_graph

__all__ = ["float_survivors", "integer_survivors"]

_BATCH = 100


@torch.no_grad()
def float_survivors(
    layers: Sequence[Captured], images: Tensor
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield each layer's output after its filter and before pooling, for one batch after the other.

    Parameters
    ----------
    layers
        A float network, in execution order.
    images : float32, shape (images, channels, height, width), 0 to 1

    Yields
    ------
    str
        The layer's name.
    float32, shape (images of the batch, channels) or (..., channels, height, width)
    """
    for batch in torch.split(images, _BATCH):
        found: list[tuple[str, NDArray[np.float32]]] = []

        def compute(
            layer: Captured, tensors: list[Tensor], found: list = found
        ) -> tuple[Tensor, Tensor]:
            tensor = layer.tensor(*tensors)
            survivors = tensor if layer.top_n is None else layer.top_n(tensor)
            found.append((layer.name, survivors.cpu().numpy()))
            return layer.pooled(tensor), layer.pooled(survivors)

        run_graph(layers, batch, compute)
        yield from found


def integer_survivors(
    network: IntegerNetwork, images: NDArray[np.int8]
) -> Iterator[tuple[str, NDArray[np.int8]]]:
    """Yield the same of an integer network.

    Parameters
    ----------
    network
        The trained network.
    images : int8, shape (images, *input_shape)

    Yields
    ------
    str
        The layer's name.
    int8, shape (images of the batch, *sums_shape)
    """
    for first in range(0, len(images), _BATCH):
        batch = images[first : first + _BATCH]
        traces = network.run(batch)
        stored = {INPUT: batch} | {name: trace.tensor for name, trace in traces.items()}
        kept = {INPUT: batch} | {name: trace.survivors for name, trace in traces.items()}
        for layer in network.layers:
            source, *others = layer.inputs
            taken = kept[source] if layer.multiplies else stored[source]
            tensor = layer.activations(taken, stored[others[0]] if others else None)
            yield layer.name, layer.top_n.keep(tensor, traces[layer.name].threshold)
