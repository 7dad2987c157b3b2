"""How deep a lane's memories must be for every weight of a network, zeros too."""

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.convolution import Convolution
from jpnet_spec.network import IntegerNetwork, Layer
from jpnet_spec.tensor_layout import TensorLayout
from jpnet_sw.compiler.lists import TapTable
from jpnet_sw.compiler.shortcuts import shortcut_layer
from jpnet_sw.compiler.steps import network_steps
from jpnet_sw.compiler.tensors import tensor_layouts
from jpnet_sw.compiler.tiles import channel_parts

__all__ = ["dense_depths"]


def dense_depths(network: IntegerNetwork, config: AcceleratorConfig) -> tuple[int, int]:
    """Return the weights and the list table entries of a lane when inputs are divided.

    Both are enough for a dense program, whatever the order of channels.

    Parameters
    ----------
    network
        The network.
    config
        The accelerator; the depths of its weight memory and list table do not matter.

    Raises
    ------
    CompileError
        If the accumulators do not hold one row of a convolution.
    """
    steps = network_steps(network)
    layouts = tensor_layouts(network, steps, config)
    # The end of the last list is an address, too.
    weights, table = 1, 0
    for step in steps:
        layer, source = step.walked, layouts[step.layer.inputs[0]]
        parts = len(channel_parts(step.layer, step.drained, config))
        if layer.convolution is None:
            lists = -(-source.bank_slots(0) // config.groups)
            weights += lists * layouts[layer.name].channel_rows
            table += parts * (lists + 1)
            continue
        summed = shortcut_layer(layer)
        for part in (layer, summed):
            if part is not None and part.convolution is not None:
                read = layouts[part.inputs[0]]
                weights += _kernel_weights(part, part.convolution, read, config)
                lists = TapTable.of(part, read, divided=True).lists
                table += parts * (lists + 1)
    return weights, table


def _kernel_weights(
    layer: Layer, convolution: Convolution, source: TensorLayout, config: AcceleratorConfig
) -> int:
    """Return the weights of the lane's kernels; a group may own all that a kernel sees."""
    owned = -(-source.channel_rows * config.lanes // config.groups)
    seen = min(owned, int(layer.weight.shape[1]))
    rows = -(-len(layer.weight) // config.lanes)
    return rows * seen * convolution.window.size[0] * convolution.window.size[1]
