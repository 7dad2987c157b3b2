"""Which layout and which order of channels each tensor of a network gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SLOTS
from jpnet_spec.network import INPUT, IntegerNetwork, Layer
from jpnet_spec.tensor_layout import MapLayout, TensorLayout, VectorLayout
from jpnet_sw.compiler.dealing import dealt_loads
from jpnet_sw.compiler.placement import place_balanced, place_in_order, place_spread
from jpnet_sw.compiler.steps import Step, tied_tensors
from jpnet_sw.compiler.tiles import channel_parts
from jpnet_sw.compiler.work import fully_connected_work

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
    network: IntegerNetwork,
    steps: Sequence[Step],
    config: AcceleratorConfig,
    activity: Mapping[str, NDArray[np.float64]],
    *,
    in_order: bool = False,
) -> dict[str, Tensor]:
    """Return the place of the image and of every layer's output, by name.

    Tensors that one drain touches have their channels in the same order, which balances all of
    the layers that compute them.

    Parameters
    ----------
    network
        The network.
    steps
        From `network_steps`.
    config
        The accelerator.
    activity
        From `layer_activity`; it tells the work of each channel.
    in_order
        Keep the channels' order everywhere.
    """
    layouts = tensor_layouts(network, steps, config)
    tensors = {
        INPUT: Tensor(layout=layouts[INPUT], positions=place_in_order(layouts[INPUT].channels))
    }
    layers = {layer.name: layer for layer in network.layers}
    ties = nx.Graph(tied_tensors(steps))
    cut = _cut_layers(network.layers, config)
    for layer in network.layers:
        source = layer.inputs[0]
        layout = layouts[layer.name]
        tied = nx.node_connected_component(ties, layer.name) if layer.name in ties else {layer.name}
        done = next((name for name in tied if name in tensors), None)
        if done is not None:
            tensors[layer.name] = tensors[done]
            continue
        members = [
            (member, member.convolution, activity[member.inputs[0]])
            for member in (layers[name] for name in sorted(tied))
            if member.multiplies and member.convolution is not None
        ]
        if in_order or network.layers[-1].name in tied:
            positions = place_in_order(layout.channels)
        elif members:
            loads = [
                dealt_loads(member, convolution, config, input_activity=survivors)
                for member, convolution, activities in members
                for survivors in (
                    _by_word(tensors[member.inputs[0]], activities)
                    if member.name in cut and member.inputs[0] in tensors
                    else [activities]
                )
            ]
            ranges = [part.rows for part in channel_parts(layer, layer.convolution, config)]
            positions = place_balanced(np.concatenate(loads, axis=1), config, ranges)
        else:
            of_layer = fully_connected_work(
                layer,
                config,
                input_clusters=tensors[source].clusters,
                input_activity=activity[source],
            )
            positions = place_spread(
                of_layer, _demand(network, layer, activity[layer.name], config), config
            )
        tensors[layer.name] = Tensor(layout=layout, positions=positions)
    return tensors


def _cut_layers(layers: Sequence[Layer], config: AcceleratorConfig) -> set[str]:
    """Return the layers whose lists do not fit a slot of the lanes' memories."""
    entries = {layer.name: np.count_nonzero(layer.weight) / config.lanes for layer in layers}
    if sum(entries.values()) <= config.weight_depth:
        return set()
    return {name for name, count in entries.items() if count > config.weight_depth // SLOTS}


def _by_word(source: Tensor, activity: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return a map's survivors in each word of a pixel, all others 0.

    Instructions read a span of words each, and lanes that are done with one wait for the others.
    """
    layout = source.layout
    if not isinstance(layout, MapLayout) or layout.packed:
        return [activity]
    word = source.positions // layout.config.act_word
    maps = activity.reshape(len(activity), len(word), -1)
    return [
        (maps * (word == number)[:, None]).reshape(activity.shape)
        for number in range(layout.pixel_words)
    ]


def tensor_layouts(
    network: IntegerNetwork, steps: Sequence[Step], config: AcceleratorConfig
) -> dict[str, TensorLayout]:
    """Return the layout of the image and of every layer's output, by name."""
    layouts = {INPUT: _input_layout(network, config)}
    vectors = {step.layer.name for step in steps if step.drained is None}
    return layouts | {
        layer.name: _output_layout(layer, config, is_vector=layer.name in vectors)
        for layer in network.layers
    }


def _input_layout(network: IntegerNetwork, config: AcceleratorConfig) -> TensorLayout:
    """Return the image's layout: a packed map where a convolution reads it."""
    for layer in network.layers:
        if INPUT in layer.inputs and layer.convolution is not None:
            channels, height, width = layer.convolution.input_shape
            return MapLayout(
                config=config, channels=channels, height=height, width=width, packed=True
            )
    return VectorLayout(config=config, channels=int(np.prod(network.input_shape)))


def _output_layout(layer: Layer, config: AcceleratorConfig, *, is_vector: bool) -> TensorLayout:
    if is_vector:
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
    readers = [other.weight for other in network.layers if layer.name == other.inputs[0]]
    products = np.sum([np.count_nonzero(weight, axis=0) for weight in readers], axis=0)
    demand: NDArray[np.float64] = activity.mean(axis=0) * (1 + products / config.lanes)
    return demand
