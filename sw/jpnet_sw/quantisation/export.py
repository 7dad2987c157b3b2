"""The quantised torch network as `jpnet_spec.network.IntegerNetwork`."""

from collections.abc import Mapping
from typing import Any

from jpnet_spec.network import INPUT, IntegerNetwork
from jpnet_sw.quantisation.network import QuantisedNetwork

__all__ = ["to_integer_network"]


def to_integer_network(
    network: QuantisedNetwork,
    *,
    name: str,
    input_shape: tuple[int, ...],
    metadata: Mapping[str, Any],
) -> IntegerNetwork:
    """Export a network whose integers equal the torch forward pass in evaluation, bit for bit.

    Parameters
    ----------
    network
        Trained.
    name
        The model's name.
    input_shape
        Channels, height and width.
    metadata
        JSON-serialisable.

    Raises
    ------
    ValueError
        If shapes do not chain, or a layer's sums could leave what training computes exactly.
    """
    layers = []
    shapes = {INPUT: input_shape}
    for layer in network.chain():
        layers.append(layer.integer_layer(tuple(shapes[source] for source in layer.inputs)))
        shapes[layer.name] = layers[-1].output_shape
    return IntegerNetwork(
        name=name, input_shape=input_shape, layers=tuple(layers), metadata=metadata
    )
