"""What the accelerator does one after the other: a layer that multiplies, and what it drains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jpnet_spec.convolution import Convolution
from jpnet_spec.layer import Layer, LayerOp
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler.errors import CompileError
from jpnet_sw.compiler.gathering import gathering_layer
from jpnet_sw.compiler.shortcuts import is_carried

__all__ = ["Step", "network_steps", "tied_tensors"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Step:
    """A layer that multiplies, and an affine layer of its output, whose tensor its drain writes.

    Parameters
    ----------
    layer
        The layer.
    second
        The affine layer, or None.
    gathers
        Whether all positions of the layer's map add to the same outputs: the average of whole maps.
    """

    layer: Layer
    second: Layer | None = None
    gathers: bool = False

    @property
    def walked(self) -> Layer:
        """The layer whose lists the lanes have."""
        return gathering_layer(self.layer) if self.gathers else self.layer

    @property
    def drained(self) -> Convolution | None:
        """Geometry of the map that is drained, None of a vector."""
        return None if self.gathers else self.layer.convolution

    @property
    def counted(self) -> Layer:
        """The layer whose outputs count for the threshold."""
        return self.layer if self.second is None else self.second

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that are written."""
        return (self.layer.name, *(() if self.second is None else (self.second.name,)))

    @property
    def carried(self) -> str | None:
        """Name of the tensor that the drain reads, or None."""
        return self.layer.inputs[1] if is_carried(self.layer) else None

    @property
    def read(self) -> tuple[str, ...]:
        """Names of the tensors that are read before the drain."""
        return tuple(name for name in self.layer.inputs if name != self.carried)


def network_steps(network: IntegerNetwork) -> list[Step]:
    """Return the layers that multiply, in order, with the affine layers that follow them.

    Raises
    ------
    CompileError
        If an affine layer cannot be written by the drain of its source.
    """
    seconds: dict[str, Layer] = {}
    layers = {layer.name: layer for layer in network.layers}
    for layer in network.layers:
        if layer.multiplies:
            continue
        source = layers[layer.inputs[0]]
        _check_affine(layer, source, seconds)
        seconds[source.name] = layer
    return [
        Step(layer=layer, second=seconds.get(layer.name), gathers=_gathers(network, layer, seconds))
        for layer in network.layers
        if layer.multiplies
    ]


def _gathers(network: IntegerNetwork, layer: Layer, seconds: Mapping[str, Layer]) -> bool:
    """Return whether a layer averages whole maps, for layers that read a vector."""
    if layer.op is not LayerOp.AVERAGE_POOL or layer.convolution is None:
        return False
    window, (_, *size) = layer.convolution.window, layer.convolution.input_shape
    whole = list(window.size) == size and not any(window.padding)
    plain = layer.pool is None and layer.name not in seconds
    readers = (other for other in network.layers if layer.name in other.inputs)
    return whole and plain and all(reader.convolution is None for reader in readers)


def _check_affine(layer: Layer, source: Layer, seconds: dict[str, Layer]) -> None:
    """Refuse an affine layer whose tensor no drain can write."""
    reason = None
    if not source.multiplies or source.op is LayerOp.FULLY_CONNECTED:
        reason = f"{source.name!r} is {source.op.value}, convolutions are supported"
    elif source.pool is not None:
        reason = f"{source.name!r} is pooled, convolutions without pooling are supported"
    elif source.name in seconds:
        reason = f"{seconds[source.name].name!r} is the affine layer of {source.name!r} already"
    elif source.top_n.mode is not ThresholdMode.NONE:
        reason = f"{source.name!r} is filtered, only one of two tensors of a drain can be"
    if reason is not None:
        raise CompileError(f"layer {layer.name!r}: its source {reason}")


def tied_tensors(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """Return pairs of tensors whose channels lie in the same order.

    The drain reads and writes the same rows of all the tensors that it touches.
    """
    pairs = []
    for step in steps:
        if step.carried is not None:
            pairs.append((step.layer.name, step.carried))
        if step.second is not None:
            pairs.append((step.layer.name, step.second.name))
    return pairs
