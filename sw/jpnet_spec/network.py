"""The integer network: the exact reference that trainer, simulator and hardware obey."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.numbers import INT8_MAX, SHIFT_MAX, requantise
from jpnet_spec.topn import TopN

__all__ = ["INPUT", "IntegerNetwork", "Layer", "LayerOp", "LayerTrace"]

INPUT = "input"
"""Name of the image in a layer's inputs."""


class LayerOp(StrEnum):
    """Operations of the layer graph."""

    FULLY_CONNECTED = "fully_connected"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layer:
    """One node of the layer graph: sums, requantisation with activation, filter.

    Parameters
    ----------
    name
        Unique in its network.
    op
        What is computed.
    inputs
        Names of the producing layers, or `INPUT`.
    weight : int8, shape (oc, ic), -127 to 127
        For ``FULLY_CONNECTED``; zeros are pruned weights.
    bias : int32, shape (oc,)
    multiplier, negative_multiplier : uint16, shape (oc,)
        For sums >= 0 and < 0, see `jpnet_spec.numbers.requantise`.
    shift
        0 to 40.
    top_n
        Filter of the output tensor.

    Raises
    ------
    ValueError
        If shapes, dtypes or ranges do not fit; the message names the layer.
    """

    name: str
    op: LayerOp = LayerOp.FULLY_CONNECTED
    inputs: tuple[str, ...] = (INPUT,)
    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.uint16]
    negative_multiplier: NDArray[np.uint16]
    shift: int
    top_n: TopN = field(default_factory=TopN)

    def __post_init__(self) -> None:
        where = f"layer {self.name!r}"
        if not self.name or self.name == INPUT:
            raise ValueError(f"Layer.name must be neither empty nor {INPUT!r}, not {self.name!r}")
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise ValueError(f"{where}: weight must have shape (oc, ic), not {self.weight.shape}")
        channels = (self.weight.shape[0],)
        for attribute, dtype, shape in (
            ("weight", np.int8, self.weight.shape),
            ("bias", np.int32, channels),
            ("multiplier", np.uint16, channels),
            ("negative_multiplier", np.uint16, channels),
        ):
            value = getattr(self, attribute)
            if value.dtype != dtype or value.shape != shape:
                raise ValueError(
                    f"{where}: {attribute} must be {np.dtype(dtype)} of shape {shape}, "
                    f"not {value.dtype} of shape {value.shape}"
                )
        if np.any(self.weight < -INT8_MAX):
            raise ValueError(f"{where}: weight must be at least {-INT8_MAX}, found -128")
        if not 0 <= self.shift <= SHIFT_MAX:
            raise ValueError(
                f"{where}: shift must be between 0 and {SHIFT_MAX}, not {self.shift!r}"
            )
        try:
            self.top_n.check_elements(self.elements)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one image's output tensor."""
        return (self.weight.shape[0],)

    @property
    def elements(self) -> int:
        """Elements of one image's output tensor."""
        return prod(self.output_shape)

    @property
    def macs_dense(self) -> int:
        """Products of the layer with nothing skipped."""
        return int(self.weight.size)

    @property
    def largest_sum(self) -> int:
        """Bound on the magnitude of any partial sum, for inputs of magnitude up to 127."""
        magnitude = np.abs(self.weight.astype(np.int64)).sum(axis=1) * INT8_MAX
        return int((magnitude + np.abs(self.bias.astype(np.int64))).max())

    def sums(self, survivors: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return the exact sums including the bias, int64, shape (images, oc)."""
        # Exact: every partial sum stays far below the 2**53 of a float64.
        product = survivors.astype(np.float64) @ self.weight.astype(np.float64).T
        return product.astype(np.int64) + self.bias

    def pairs(self, survivors: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return the effective MACs per image: pairs of non-zero weight and surviving input."""
        per_input = np.count_nonzero(self.weight, axis=0).astype(np.int64)
        found: NDArray[np.int64] = (survivors != 0) @ per_input
        return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerTrace:
    """What one layer computed for a batch of images.

    Parameters
    ----------
    tensor : int8, shape (images, *output_shape)
        The output before filtering, as the accelerator stores it.
    threshold : int64, shape (images,)
    survivors : int8, shape (images, *output_shape)
        The output after filtering, as the consumers see it.
    macs_effective : int64, shape (images,)
        Pairs of non-zero weight and surviving input activation.
    inputs_read, inputs_zero, inputs_below : int64, shape (images,)
        Input activations read, dropped as zero, dropped by the producer's threshold.
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
        elements = {INPUT: prod(self.input_shape)}
        for layer in self.layers:
            if layer.name in elements:
                raise ValueError(f"layer {layer.name!r}: name must be unique")
            if len(layer.inputs) != 1 or layer.inputs[0] not in elements:
                raise ValueError(
                    f"layer {layer.name!r}: inputs must be one earlier layer, not {layer.inputs!r}"
                )
            given = elements[layer.inputs[0]]
            if layer.weight.shape[1] != given:
                raise ValueError(
                    f"layer {layer.name!r}: weight must take {given} inputs from "
                    f"{layer.inputs[0]!r}, not {layer.weight.shape[1]}"
                )
            elements[layer.name] = layer.elements

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
        count = len(images)
        flat = images.reshape(count, -1)
        stored = {INPUT: flat}
        kept = {INPUT: flat}
        traces = {}
        for layer in self.layers:
            source, survivors = stored[layer.inputs[0]], kept[layer.inputs[0]]
            tensor = requantise(
                layer.sums(survivors), layer.multiplier, layer.negative_multiplier, layer.shift
            )
            threshold = layer.top_n.threshold(tensor)
            zeros = (source == 0).sum(axis=1)
            traces[layer.name] = LayerTrace(
                tensor=tensor,
                threshold=threshold,
                survivors=layer.top_n.keep(tensor, threshold),
                macs_effective=layer.pairs(survivors),
                inputs_read=np.full(count, source.shape[1], dtype=np.int64),
                inputs_zero=zeros,
                inputs_below=(survivors == 0).sum(axis=1) - zeros,
            )
            stored[layer.name] = tensor
            kept[layer.name] = traces[layer.name].survivors
        return traces

    def logits(self, images: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return the result layer's tensor, int8, shape (images, classes)."""
        return self.run(images)[self.layers[-1].name].tensor
