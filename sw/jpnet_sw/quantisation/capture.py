"""Read a torch model as a graph of layers that the integer network can express."""

from dataclasses import dataclass, replace
from operator import add, iadd

import torch
from torch import fx, nn

from jpnet_spec.layer import INPUT
from jpnet_sw.layout import channels_last
from jpnet_sw.models.residual import Shortcut
from jpnet_sw.quantisation.affine import CapturedAffine
from jpnet_sw.quantisation.average import CapturedAverage
from jpnet_sw.quantisation.captured import CapturedLayer
from jpnet_sw.quantisation.fusion import ORDER, Captured, fuse
from jpnet_sw.quantisation.geometry import check_average, check_convolution
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["Captured", "capture"]

_FUSED = (nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, TopNFilter, nn.MaxPool2d, nn.Dropout)
_ADDITIONS = (add, iadd, torch.add)


class _Tracer(fx.Tracer):
    def __init__(self) -> None:
        super().__init__(autowrap_functions=(channels_last,))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is an operation."""
        return isinstance(m, TopNFilter | Shortcut) or super().is_leaf_module(
            m, module_qualified_name
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Value:
    """What a step of the model computes.

    Parameters
    ----------
    layer
        Its layer, or `INPUT`.
    stored
        Whether it is the tensor as it is stored; not after a filter or dropout.
    shared
        Whether other steps than the next one took this value or an earlier one of the layer.
    flat
        Whether it has no maps.
    shortcut
        What the stored tensor went through; nothing but an addition takes such a value.
    """

    layer: str
    stored: bool = True
    shared: bool = False
    flat: bool = False
    shortcut: Shortcut | None = None


def capture(model: nn.Module) -> list[Captured]:
    """Return the layers of a model in execution order.

    Parameters
    ----------
    model
        Made of Linear, Conv2d, AvgPool2d, AdaptiveAvgPool2d, BatchNorm2d, ReLU, LeakyReLU,
        TopNFilter, MaxPool2d, Flatten, Dropout and Shortcut modules and of additions; its forward
        pass must not depend on the images.

    Raises
    ------
    ValueError
        If a module is of another type or has settings that the integer network cannot express, or
        follows one that it cannot be fused with.
    """
    try:
        graph = _Tracer().trace(model)
    except (fx.proxy.TraceError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"model must do the same with every image: {reason}") from error
    capturing = _Capturing(model)
    for node in graph.nodes:
        capturing.take(node)
    return capturing.finish()


class _Capturing:
    """The layers that were found so far, and the value of each step.

    Parameters
    ----------
    model
        Whose modules the steps name.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._layers: dict[str, Captured] = {}
        self._values: dict[fx.Node, _Value] = {}
        self._passed: list[tuple[str, _Value]] = []
        self._result: _Value | None = None

    def take(self, node: fx.Node) -> None:
        """Follow one step of the model."""
        name = str(node.target)
        if node.op == "placeholder":
            if self._values:
                raise ValueError(f"model must take images only, not {name!r} too")
            self._values[node] = _Value(layer=INPUT)
            return
        sources = [argument for argument in node.args if isinstance(argument, fx.Node)]
        if not sources or len(sources) != len(node.all_input_nodes):
            raise ValueError(f"step {node.name!r} must take tensors of the model only")
        given = self._values[sources[0]] if node.op != "output" else None
        if node.op == "output":
            self._result = self._values[sources[0]]
        elif node.op == "call_module":
            assert given is not None
            several = len(sources[0].users) > 1
            given = replace(given, shared=given.shared or several)
            self._values[node] = self._module(name, self._model.get_submodule(name), given)
        elif node.target is channels_last:
            self._values[node] = self._values[sources[0]]
        elif node.target in _ADDITIONS and len(sources) == 2 and not node.kwargs:
            self._values[node] = self._addition(node.name, sources)
        elif node.target is torch.flatten and node.args[1:] == (1,) and not node.kwargs:
            assert given is not None
            self._values[node] = replace(given, flat=True)
        else:
            raise ValueError(
                f"step {node.name!r} must be a module of the kinds {ORDER}, Flatten, Shortcut, or "
                f"an addition, not {getattr(node.target, '__name__', name)!r}"
            )

    def finish(self) -> list[Captured]:
        """Return the layers.

        Raises
        ------
        ValueError
            If there are none with weights, or the model's result is not the last one's.
        """
        layers = list(self._layers.values())
        if not any(isinstance(layer, CapturedLayer) for layer in layers):
            raise ValueError("model must have at least one Linear or Conv2d layer, not 0")
        for name, value in self._passed:
            source = self._layers.get(value.layer)
            if value.stored and source is not None and source.top_n is not None:
                raise ValueError(f"layer {name!r} must take {value.layer!r} after its TopNFilter")
        if self._result is None or self._result.layer != layers[-1].name:
            raise ValueError(f"model must return the output of its last layer {layers[-1].name!r}")
        return layers

    def _module(self, name: str, module: nn.Module, given: _Value) -> _Value:
        if given.shortcut is not None:
            raise ValueError(f"layer {name!r} must not take a Shortcut, an addition must")
        if isinstance(module, nn.Flatten):
            return replace(given, flat=True)
        if isinstance(module, Shortcut):
            if not given.stored:
                raise ValueError(f"layer {name!r} must come before TopNFilter and Dropout")
            return replace(given, shortcut=module)
        if isinstance(module, _FUSED):
            return self._fused(name, module, given)
        layer = _begin(name, module, given)
        self._add(layer)
        self._passed.append((name, given))
        return _Value(layer=name, flat=not layer.spatial)

    def _fused(self, name: str, module: nn.Module, given: _Value) -> _Value:
        """Fuse a module into its layer, or begin an affine one where that would lose a tensor."""
        if given.layer == INPUT:
            raise ValueError(
                f"layer {name!r} must follow a Linear or Conv2d layer, not begin the model"
            )
        layer = self._layers[given.layer]
        if _needs_affine(layer, module, given):
            layer = CapturedAffine(name=name, inputs=(layer.name,))
            self._add(layer)
            given = _Value(layer=name)
        if given.shared and isinstance(module, nn.MaxPool2d | nn.Dropout):
            raise ValueError(f"layer {name!r} must be the only one that takes {layer.name!r}")
        self._layers[layer.name] = fuse(layer, name, module)
        dropped = isinstance(module, TopNFilter | nn.Dropout)
        return replace(given, stored=given.stored and not dropped)

    def _addition(self, step: str, sources: list[fx.Node]) -> _Value:
        """Make a layer residual whose bare sums are one of the terms."""
        places = list(self._layers)
        terms = []
        for place, source in enumerate(sources):
            value = self._values[source]
            layer = self._layers.get(value.layer)
            if (
                isinstance(layer, CapturedLayer)
                and _bare(layer)
                and not value.shared
                and value.shortcut is None
                and len(source.users) == 1
            ):
                terms.append((places.index(layer.name), place, layer))
        if not terms:
            raise ValueError(f"step {step!r} must add to the sums of a Conv2d layer")
        _, place, layer = max(terms, key=lambda term: term[0])
        carried = self._values[sources[1 - place]]
        if not carried.stored:
            raise ValueError(f"step {step!r} must add a tensor before its TopNFilter and Dropout")
        # After the shortcut's layer; nothing else took the sums.
        del self._layers[layer.name]
        self._layers[layer.name] = replace(
            layer, inputs=(*layer.inputs, carried.layer), shortcut=carried.shortcut
        )
        return _Value(layer=layer.name)

    def _add(self, layer: Captured) -> None:
        if layer.name in self._layers:
            raise ValueError(f"layer {layer.name!r} must be used once, not again")
        self._layers[layer.name] = layer


def _bare(layer: CapturedLayer) -> bool:
    """Return whether a layer's tensor is that of its sums so far."""
    return (
        layer.spatial
        and not layer.residual
        and layer.negative_slope == 1
        and layer.top_n is None
        and layer.pool is None
        and layer.dropout is None
    )


def _needs_affine(layer: Captured, module: nn.Module, given: _Value) -> bool:
    """Return whether normalisation or activation must make a second tensor."""
    if not isinstance(module, nn.BatchNorm2d | nn.ReLU | nn.LeakyReLU) or not given.stored:
        return False
    if given.flat or isinstance(layer, CapturedAffine | CapturedAverage):
        return False
    if given.shared:
        return layer.pool is None
    return layer.residual and not isinstance(module, nn.ReLU)


def _begin(name: str, module: nn.Module, given: _Value) -> Captured:
    """Return the layer that a module begins."""
    inputs = (given.layer,)
    if isinstance(module, nn.Linear):
        if not given.flat and given.layer != INPUT:
            raise ValueError(f"layer {name!r} must follow a Flatten, not maps")
        return CapturedLayer(name=name, inputs=inputs, linear=module)
    if not isinstance(module, nn.Conv2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        raise ValueError(
            f"layer {name!r} must be one of {ORDER}, Flatten, Shortcut, "
            f"not {type(module).__name__!r}"
        )
    if given.flat:
        raise ValueError(f"layer {name!r} must come before Flatten and Linear, not after")
    if isinstance(module, nn.Conv2d):
        check_convolution(name, module)
        return CapturedLayer(name=name, inputs=inputs, linear=module)
    check_average(name, module)
    return CapturedAverage(name=name, inputs=inputs, average=module)
