"""The layer graph, and how often its tensors' elements survive."""

from math import prod

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from jpnet_spec.network import INPUT, IntegerNetwork

__all__ = ["ACTIVITY_IMAGES", "layer_activity", "layer_graph"]

ACTIVITY_IMAGES = 64
"""Images whose activations tell what each channel costs; more change no network's cycles by 1 %."""


def layer_graph(network: IntegerNetwork) -> nx.DiGraph:
    """Return the network as a graph.

    Every node has the attributes ``elements`` and, but for the input, ``layer`` and ``order``
    (its place in the execution order).
    """
    graph = nx.DiGraph(name=network.name)
    graph.add_node(INPUT, elements=prod(network.input_shape), order=-1)
    for order, layer in enumerate(network.layers):
        graph.add_node(layer.name, layer=layer, elements=layer.elements, order=order)
        graph.add_edges_from((source, layer.name) for source in layer.inputs)
    return graph


def layer_activity(
    network: IntegerNetwork, images: NDArray[np.int8] | None
) -> dict[str, NDArray[np.float64]]:
    """Return which elements of each tensor survive in some images.

    Parameters
    ----------
    network
        The network.
    images : int8, shape (images, *input_shape)
        Training images, of which the first `ACTIVITY_IMAGES` are used; None when nothing is known:
        then every element counts the same.

    Returns
    -------
    dict
        Node to float64, shape (images, elements), 0 or 1.
    """
    if images is None:
        elements = {INPUT: prod(network.input_shape)}
        elements |= {layer.name: layer.elements for layer in network.layers}
        return {node: np.ones((1, count)) for node, count in elements.items()}
    sample = images[:ACTIVITY_IMAGES]
    kept = {INPUT: sample}
    kept |= {name: trace.survivors for name, trace in network.run(sample).items()}
    return {
        node: (survivors.reshape(len(sample), -1) != 0).astype(np.float64)
        for node, survivors in kept.items()
    }
