"""The quantised torch network as `jpnet_spec.network.IntegerNetwork`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from jpnet_spec.network import INPUT, IntegerNetwork, Layer, LayerOp
from jpnet_sw.quantisation.network import QuantisedNetwork

__all__ = ["to_integer_network"]


@torch.no_grad()
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
        If a layer's sums could leave what training computes exactly.
    """
    layers = []
    source, shape = INPUT, input_shape
    for layer in network.chain():
        layer.check_exact()
        convolution = layer.layer.convolution(shape)
        layers.append(
            Layer(
                name=layer.name,
                op=LayerOp.FULLY_CONNECTED if convolution is None else LayerOp.CONVOLUTION,
                inputs=(source,),
                weight=layer.integer_weight().cpu().numpy().astype(np.int8),
                bias=layer.integer_bias().cpu().numpy().astype(np.int32),
                multiplier=layer.multiplier,
                negative_multiplier=layer.negative_multiplier,
                shift=layer.shift,
                top_n=layer.top_n.top_n,
                convolution=convolution,
                pool=layer.layer.window(shape),
            )
        )
        source, shape = layer.name, layer.layer.output_shape(shape)
    return IntegerNetwork(
        name=name, input_shape=input_shape, layers=tuple(layers), metadata=metadata
    )
