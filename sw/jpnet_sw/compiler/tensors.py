"""Which layout and which order of channels each tensor of a network gets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.network import INPUT, IntegerNetwork, Layer
from jpnet_spec.tensor_layout import MapLayout, TensorLayout, VectorLayout
from jpnet_sw.compiler.graph import layer_activity
from jpnet_sw.compiler.placement import place_balanced, place_in_order, place_spread
from jpnet_sw.compiler.work import convolution_work, fully_connected_work

__all__ = ["Tensor", "place_tensors", "tensor_layouts"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tensor:
    """A tensor's layout and order of channels.

    Parameters
    ----------
    layout
        Of the tensor.
    positions : int32, shape (channels,)
        Position ``row * lanes + lane`` of each channel.
    """

    layout: TensorLayout
    positions: NDArray[np.int32]

    @property
    def places(self) -> NDArray[np.int32]:
        """Place of each element in row-major order, int32, shape (elements,)."""
        return self.layout.places(self.positions)

    @property
    def clusters(self) -> NDArray[np.int64]:
        """Cluster whose bank holds each element, int64, shape (elements,)."""
        config = self.layout.config
        owner, _, _ = config.row_places(self.places.astype(np.int64) // config.lanes)
        return owner


def place_tensors(
    network: IntegerNetwork, config: AcceleratorConfig, images: NDArray[np.int8] | None
) -> dict[str, Tensor]:
    """Return the place of the image and of every layer's output, by name.

    Parameters
    ----------
    network
        The network.
    config
        The accelerator.
    images : int8, shape (images, *input_shape)
        Training images from which the work of each channel is estimated, or None.
    """
    activity = layer_activity(network, images)
    layouts = tensor_layouts(network, config)
    tensors = {
        INPUT: Tensor(layout=layouts[INPUT], positions=place_in_order(layouts[INPUT].channels))
    }
    for layer in network.layers:
        source = layer.inputs[0]
        layout = layouts[layer.name]
        if layer is network.layers[-1]:
            positions = place_in_order(layout.channels)
        elif layer.convolution is not None:
            positions = place_balanced(
                convolution_work(layer, layer.convolution, config, input_activity=activity[source]),
                config,
            )
        else:
            work = fully_connected_work(
                layer,
                config,
                input_clusters=tensors[source].clusters,
                input_activity=activity[source],
            )
            positions = place_spread(
                work, _demand(network, layer, activity[layer.name], config), config
            )
        tensors[layer.name] = Tensor(layout=layout, positions=positions)
    return tensors


def tensor_layouts(network: IntegerNetwork, config: AcceleratorConfig) -> dict[str, TensorLayout]:
    """Return the layout of the image and of every layer's output, by name."""
    layouts = {INPUT: _input_layout(network, config)}
    return layouts | {layer.name: _output_layout(layer, config) for layer in network.layers}


def _input_layout(network: IntegerNetwork, config: AcceleratorConfig) -> TensorLayout:
    """Return the image's layout: a packed map where a convolution reads it."""
    for layer in network.layers:
        if INPUT in layer.inputs and layer.convolution is not None:
            channels, height, width = layer.convolution.input_shape
            return MapLayout(
                config=config, channels=channels, height=height, width=width, packed=True
            )
    return VectorLayout(config=config, channels=int(np.prod(network.input_shape)))


def _output_layout(layer: Layer, config: AcceleratorConfig) -> TensorLayout:
    if layer.convolution is None:
        return VectorLayout(config=config, channels=layer.elements)
    channels, height, width = layer.output_shape
    return MapLayout(config=config, channels=channels, height=height, width=width)


def _demand(
    network: IntegerNetwork,
    layer: Layer,
    activity: NDArray[np.float64],
    config: AcceleratorConfig,
) -> NDArray[np.float64]:
    """Return the cycles that each output will cost its reader: a token and its products."""
    readers = [other.weight for other in network.layers if layer.name in other.inputs]
    products = np.sum([np.count_nonzero(weight, axis=0) for weight in readers], axis=0)
    demand: NDArray[np.float64] = activity.mean(axis=0) * (1 + products / config.lanes)
    return demand
