"""How deep a lane's memories must be for every weight of a network, zeros too."""

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.convolution import Convolution
from jpnet_spec.network import IntegerNetwork, Layer
from jpnet_spec.tensor_layout import TensorLayout
from jpnet_sw.compiler.lists import TapTable
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
    layouts = tensor_layouts(network, config)
    # The end of the last list is an address, too.
    weights, table = 1, 0
    for layer in network.layers:
        if not layer.multiplies:
            continue
        source, target = layouts[layer.inputs[0]], layouts[layer.name]
        if layer.convolution is None:
            lists = -(-source.bank_slots(0) // config.groups)
            weights += lists * target.channel_rows
            table += len(channel_parts(layer, None, config)) * (lists + 1)
        else:
            weights += _kernel_weights(layer, layer.convolution, source, config)
            lists = TapTable.of(layer.convolution, source, divided=True).lists
            table += len(channel_parts(layer, layer.convolution, config)) * (lists + 1)
    return weights, table


def _kernel_weights(
    layer: Layer, convolution: Convolution, source: TensorLayout, config: AcceleratorConfig
) -> int:
    """Return the weights of the lane's kernels; a group may own all that a kernel sees."""
    owned = -(-source.channel_rows * config.lanes // config.groups)
    seen = min(owned, int(layer.weight.shape[1]))
    rows = -(-len(layer.weight) // config.lanes)
    return rows * seen * convolution.window.size[0] * convolution.window.size[1]
