"""The layer graph and where its tensors lie in the activation memory."""

from math import prod

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from jpnet_spec.network import INPUT, IntegerNetwork

__all__ = ["ACTIVITY_IMAGES", "allocate_words", "layer_activity", "layer_graph"]

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


def allocate_words(graph: nx.DiGraph, words: dict[str, int], result: str) -> dict[str, int]:
    """Place every tensor in the activation memory, reusing words whose tensor is dead.

    The input keeps words of its own, so that the next image can be loaded while the later layers
    of this one run.

    Parameters
    ----------
    graph
        From `layer_graph`.
    words
        Words per cluster of each node's tensor.
    result
        The node whose tensor is read when all layers are done.

    Returns
    -------
    dict
        Node to first word address; the memory needed is the largest end.
    """
    order = sorted(graph.nodes, key=lambda node: graph.nodes[node]["order"])
    end_of_program = len(order)
    dies = {
        node: max((graph.nodes[user]["order"] for user in graph.successors(node)), default=0)
        for node in order
    }
    dies[INPUT] = dies[result] = end_of_program
    placed: dict[str, int] = {}
    for node in order:
        born = graph.nodes[node]["order"]
        live = sorted(
            (placed[other], placed[other] + words[other]) for other in placed if dies[other] >= born
        )
        address = 0
        for begin, end in live:
            if address + words[node] <= begin:
                break
            address = max(address, end)
        placed[node] = address
    return placed


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
