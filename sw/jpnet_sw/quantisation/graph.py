"""Running a graph of layers on tensors, whatever the arithmetic."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from jpnet_spec.layer import INPUT

__all__ = ["GraphLayer", "layer_shapes", "run_graph"]


class GraphLayer(Protocol):
    """What a layer says about its place in the graph."""

    @property
    def name(self) -> str:
        """Unique name."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Producers: of what is multiplied, then of the shortcut."""

    @property
    def multiplies(self) -> bool:
        """Whether it takes survivors; otherwise it takes what is stored."""


class ShapedLayer(GraphLayer, Protocol):
    """A layer that knows its shapes."""

    def sums_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one image's sums, before pooling."""

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one image's output tensor."""


Layer = TypeVar("Layer", bound=GraphLayer)


def run_graph(
    layers: Sequence[Layer],
    image: Tensor,
    compute: Callable[[Layer, list[Tensor]], tuple[Tensor, Tensor]],
) -> Tensor:
    """Compute every layer and return what the last one passes on.

    Tensors are forgotten after their last use.

    Parameters
    ----------
    layers
        In execution order.
    image
        What `jpnet_spec.layer.INPUT` stands for.
    compute
        Takes a layer and its inputs; returns its tensor as it is stored, for shortcuts and affine
        layers, and as it is passed on to be multiplied.
    """
    last_use = {source: index for index, layer in enumerate(layers) for source in layer.inputs}
    stored, passed = {INPUT: image}, {INPUT: image}
    made = image
    for index, layer in enumerate(layers):
        first, *others = layer.inputs
        taken = passed[first] if layer.multiplies else stored[first]
        tensors = [taken, *(stored[source] for source in others)]
        stored[layer.name], made = compute(layer, tensors)
        passed[layer.name] = made
        del taken, tensors
        for source in set(layer.inputs):
            if last_use[source] == index:
                del stored[source], passed[source]
    return made


def layer_shapes(
    layers: Sequence[ShapedLayer], image_shape: tuple[int, ...]
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the shapes of each layer's input and sums, by name.

    Parameters
    ----------
    layers
        In execution order.
    image_shape
        Channels, height and width.
    """
    outputs = {INPUT: image_shape}
    shapes = {}
    for layer in layers:
        given = outputs[layer.inputs[0]]
        shapes[layer.name] = (given, layer.sums_shape(given))
        outputs[layer.name] = layer.output_shape(given)
    return shapes
