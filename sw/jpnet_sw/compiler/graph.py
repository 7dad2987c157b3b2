"""The layer graph, and how often its tensors' elements survive."""

from math import prod

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from jpnet_spec.network import INPUT, IntegerNetwork

__all__ = ["layer_activity", "layer_graph"]


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
    """Return how often each element of each tensor survives.

    Parameters
    ----------
    network
        The network.
    images : int8, shape (images, *input_shape)
        Training images, or None when nothing is known: then every element counts the same.

    Returns
    -------
    dict
        Node to float64, shape (elements,), 0 to 1.
    """
    if images is None:
        elements = {INPUT: prod(network.input_shape)}
        elements |= {layer.name: layer.elements for layer in network.layers}
        return {node: np.ones(count) for node, count in elements.items()}
    traces = network.run(images)
    activity = {INPUT: np.mean(images.reshape(len(images), -1) != 0, axis=0)}
    for name, trace in traces.items():
        activity[name] = np.mean(trace.survivors.reshape(len(images), -1) != 0, axis=0)
    return activity
