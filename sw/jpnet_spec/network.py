"""The integer network: the exact reference that trainer, simulator and hardware obey."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.layer import INPUT, Layer, LayerOp
from jpnet_spec.numbers import INT8_MAX

__all__ = ["INPUT", "IntegerNetwork", "Layer", "LayerOp", "LayerTrace"]

_CHUNK = 64
"""Images whose sums are held at once."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerTrace:
    """What one layer computed for a batch of images.

    Parameters
    ----------
    tensor : int8, shape (images, *output_shape)
        The output after pooling and before filtering, as the accelerator stores it.
    threshold : int64, shape (images,)
        Of the filter, found before pooling.
    survivors : int8, shape (images, *output_shape)
        The output after filtering, as the consumers see it.
    macs_effective : int64, shape (images,)
        Pairs of non-zero weight and surviving input activation whose output exists.
    inputs_read, inputs_zero, inputs_below : int64, shape (images,)
        Input activations read, dropped as zero, dropped by the producer's threshold; none of a
        layer that does not multiply, nor of a shortcut.
    """

    tensor: NDArray[np.int8]
    threshold: NDArray[np.int64]
    survivors: NDArray[np.int8]
    macs_effective: NDArray[np.int64]
    inputs_read: NDArray[np.int64]
    inputs_zero: NDArray[np.int64]
    inputs_below: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class IntegerNetwork:
    """A quantised network as a graph of layers in topological order.

    Parameters
    ----------
    name
        The model's name.
    input_shape
        Shape of one image; its elements in row-major order are the first layer's input.
    layers
        Each after its inputs; the last one's output is the result.
    metadata
        JSON-serialisable facts about the making: data set, seed, accuracies.

    Raises
    ------
    ValueError
        If names repeat, inputs are unknown or shapes do not chain.
    """

    name: str
    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("IntegerNetwork.layers must not be empty")
        shapes = {INPUT: tuple(self.input_shape)}
        for layer in self.layers:
            if layer.name in shapes:
                raise ValueError(f"layer {layer.name!r}: name must be unique")
            _check_inputs(layer, shapes)
            shapes[layer.name] = layer.output_shape

    @property
    def macs_dense(self) -> int:
        """Products per image with nothing skipped."""
        return sum(layer.macs_dense for layer in self.layers)

    @property
    def content_hash(self) -> str:
        """SHA-256 over everything that decides the arithmetic; metadata is left out."""
        digest = hashlib.sha256(repr(self.input_shape).encode())
        for layer in self.layers:
            shape = (layer.name, layer.op.value, layer.inputs, layer.weight.shape, layer.shift)
            digest.update(repr((shape, layer.top_n)).encode())
            if layer.convolution is not None:
                digest.update(repr((layer.convolution, layer.pool)).encode())
            if layer.shortcut is not None:
                digest.update(repr(layer.shortcut).encode())
            for tensor in (layer.weight, layer.bias, layer.multiplier, layer.negative_multiplier):
                digest.update(np.ascontiguousarray(tensor).tobytes())
        return digest.hexdigest()

    def check_images(self, images: NDArray[np.int8]) -> None:
        """Refuse images of another dtype or shape, or with the value -128.

        Raises
        ------
        ValueError
            If the images do not fit.
        """
        wanted = tuple(self.input_shape)
        if images.dtype != np.int8 or images.shape[1:] != wanted:
            raise ValueError(
                f"{self.name}: images must be int8 of shape (images, {wanted}), "
                f"not {images.dtype} of shape {images.shape}"
            )
        if np.any(images < -INT8_MAX):
            raise ValueError(f"{self.name}: images must be at least {-INT8_MAX}, found -128")

    def run(self, images: NDArray[np.int8]) -> dict[str, LayerTrace]:
        """Compute every layer for a batch of images.

        Parameters
        ----------
        images : int8, shape (images, *input_shape), -127 to 127

        Returns
        -------
        dict
            Layer name to trace, in execution order.

        Raises
        ------
        ValueError
            If the images' dtype, shape or values do not fit.
        """
        self.check_images(images)
        stored = {INPUT: images}
        kept = {INPUT: images}
        traces = {}
        for layer in self.layers:
            tensors = [stored[source] for source in layer.inputs]
            survivors = kept[layer.inputs[0]] if layer.multiplies else tensors[0]
            trace = _run_layer(layer, tensors, survivors)
            traces[layer.name] = trace
            stored[layer.name], kept[layer.name] = trace.tensor, trace.survivors
        return traces

    def logits(self, images: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return the result layer's tensor, int8, shape (images, classes)."""
        return self.run(images)[self.layers[-1].name].tensor


def _check_inputs(layer: Layer, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a layer whose inputs are not earlier layers of the right shapes."""
    wanted = "one earlier layer" if layer.shortcut is None else "two earlier layers"
    if len(layer.inputs) != 1 + (layer.shortcut is not None) or not shapes.keys() >= {
        *layer.inputs
    }:
        raise ValueError(f"layer {layer.name!r}: inputs must be {wanted}, not {layer.inputs!r}")
    if not layer.multiplies and layer.inputs[0] == INPUT:
        raise ValueError(
            f"layer {layer.name!r}: an affine layer must follow a layer, not the image"
        )
    _check_chain(layer, shapes[layer.inputs[0]])
    if layer.shortcut is not None and layer.shortcut.input_shape != shapes[layer.inputs[1]]:
        raise ValueError(
            f"layer {layer.name!r}: shortcut must take the {shapes[layer.inputs[1]]} of "
            f"{layer.inputs[1]!r}, not {layer.shortcut.input_shape}"
        )


def _check_chain(layer: Layer, given: tuple[int, ...]) -> None:
    """Refuse a layer that does not take its producer's output."""
    if layer.convolution is not None:
        if layer.convolution.input_shape != given:
            raise ValueError(
                f"layer {layer.name!r}: input_shape must be the {given} of {layer.inputs[0]!r}, "
                f"not {layer.convolution.input_shape}"
            )
    elif layer.input_elements != prod(given):
        raise ValueError(
            f"layer {layer.name!r}: weight must take {prod(given)} inputs from "
            f"{layer.inputs[0]!r}, not {layer.input_elements}"
        )


def _run_layer(
    layer: Layer, inputs: Sequence[NDArray[np.int8]], survivors: NDArray[np.int8]
) -> LayerTrace:
    """Compute one layer from its inputs as they are stored and the first one's survivors."""
    tensors, thresholds = [], []
    for first in range(0, len(survivors), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        carried = None if layer.shortcut is None else inputs[1][chunk]
        activations = layer.activations(survivors[chunk], carried)
        thresholds.append(layer.top_n.threshold(activations))
        tensors.append(layer.stored(activations))
    tensor, threshold = np.concatenate(tensors), np.concatenate(thresholds)
    read = layer.input_elements if layer.multiplies else 0
    living, kept = (
        np.count_nonzero(values.reshape(len(survivors), -1)[:, :read], axis=1)
        for values in (inputs[0], survivors)
    )
    return LayerTrace(
        tensor=tensor,
        threshold=threshold,
        survivors=layer.top_n.keep(tensor, threshold),
        macs_effective=layer.pairs(survivors),
        inputs_read=np.full(len(survivors), read, dtype=np.int64),
        inputs_zero=read - living,
        inputs_below=living - kept,
    )
