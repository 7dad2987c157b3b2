"""The same network on the same lanes with less or nothing skipped, to compare with."""

from dataclasses import replace

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.schedule import Schedule
from jpnet_spec.topn import TopN

__all__ = ["compile_dense", "compile_weight_only", "dense_config", "without_filters"]


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def dense_config(network: IntegerNetwork, config: AcceleratorConfig) -> AcceleratorConfig:
    """Return the configuration with weight memories that hold every weight, zeros too.

    Lanes, groups, clusters, bus and pipelines stay as they are, so that the cycles of both
    networks can be compared. Nothing shrinks.

    Raises
    ------
    ValueError
        If a lane cannot have that much memory.
    """
    from jpnet_sw.compiler.depths import dense_depths

    weights, table = dense_depths(network, config)
    return replace(
        config,
        weight_depth=max(config.weight_depth, _power_of_two(weights)),
        pointer_depth=max(config.pointer_depth, _power_of_two(table)),
    )


def without_filters(network: IntegerNetwork) -> IntegerNetwork:
    """Return the network with every activation surviving, as the dense run computes it."""
    layers = tuple(replace(layer, top_n=TopN()) for layer in network.layers)
    return replace(network, layers=layers)


def compile_weight_only(network: IntegerNetwork, config: AcceleratorConfig) -> Schedule:
    """Compile a network without filters so that zero weights are skipped, but no activation.

    Raises
    ------
    ValueError
        If it does not fit.
    """
    from jpnet_sw.compiler import compile_network

    return compile_network(network, config, dense=True, pruned=True)


def compile_dense(network: IntegerNetwork, config: AcceleratorConfig) -> Schedule:
    """Compile a network without filters so that every product is issued, zeros too.

    It is compiled for `dense_config`; the schedule says what had to grow.

    Raises
    ------
    ValueError
        If no memory is large enough.
    """
    from jpnet_sw.compiler import compile_network

    return compile_network(network, dense_config(network, config), dense=True)
