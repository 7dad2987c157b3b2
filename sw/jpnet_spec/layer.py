"""One layer of the integer network."""

from dataclasses import dataclass, field
from enum import StrEnum
from math import prod

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.convolution import Convolution
from jpnet_spec.numbers import INT8_MAX, SHIFT_MAX, requantise, requantise_with_addend
from jpnet_spec.pooling import max_pool
from jpnet_spec.shortcut import Shortcut
from jpnet_spec.topn import TopN
from jpnet_spec.window import Window

__all__ = ["AFFINE_UNIT", "INPUT", "Layer", "LayerOp"]

INPUT = "input"
"""Name of the image in a layer's inputs."""

AFFINE_UNIT = 64
"""Magnitude of an affine layer's weights: biases are in 64ths of the source's step."""

_EXACT_FLOAT32 = 2**24


class LayerOp(StrEnum):
    """Operations of the layer graph."""

    FULLY_CONNECTED = "fully_connected"
    """Every output sums all input elements, in row-major order."""
    CONVOLUTION = "convolution"
    """Every output sums the elements under its kernel."""
    AVERAGE_POOL = "average_pool"
    """A convolution of each channel with weights of 1; the multiplier divides by the area."""
    AFFINE = "affine"
    """Each element times plus or minus `AFFINE_UNIT`, plus its channel's bias, while the source is
    written: a second tensor of the same sums, without products."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layer:
    """One node of the layer graph: sums, requantisation with activation, filter, max pooling.

    The filter's threshold is found over all requantised sums, before pooling. What is stored is
    pooled and not yet filtered; consumers drop what does not exceed the threshold. Setting
    magnitudes up to a threshold to 0 never reverses an order, so this equals filtering before
    pooling, of negative elements too.

    A residual layer adds another tensor to its sums before they are rounded. Consumers that do not
    multiply, which are shortcuts and affine layers, take the tensor as it is stored: all of it.

    Parameters
    ----------
    name
        Unique in its network.
    op
        What is computed.
    inputs
        Names of the producing layers, or `INPUT`: of what is multiplied, then the shortcut's.
    weight : int8, -127 to 127
        ``FULLY_CONNECTED``: shape (oc, ic). ``CONVOLUTION``: shape (oc, ic / channel_groups, kh,
        kw). ``AVERAGE_POOL``: ones of shape (channels, 1, kh, kw). ``AFFINE``: `AFFINE_UNIT` with
        either sign, shape (channels, 1, 1, 1). Zeros are pruned weights.
    bias : int32, shape (oc,)
        Zeros for ``AVERAGE_POOL``.
    multiplier, negative_multiplier : uint16, shape (oc,)
        For sums >= 0 and < 0, see `jpnet_spec.numbers.requantise`. With a shortcut the latter is 0
        or the former, see `jpnet_spec.numbers.requantise_with_addend`.
    shift
        0 to 40.
    top_n
        Filter of the output tensor.
    convolution
        Of all but ``FULLY_CONNECTED``, where it is None; ``AVERAGE_POOL`` and ``AFFINE`` have as
        many groups as channels.
    pool
        Max pooling after them, or None.
    shortcut
        What ``CONVOLUTION`` adds to its sums, or None.

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
    convolution: Convolution | None = None
    pool: Window | None = None
    shortcut: Shortcut | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name == INPUT:
            raise ValueError(f"Layer.name must be neither empty nor {INPUT!r}, not {self.name!r}")
        try:
            self._check_shape()
            self._check_tensors()
            self._check_affine()
            self._check_shortcut()
            self.top_n.check_elements(prod(self.sums_shape))
        except ValueError as error:
            raise ValueError(f"layer {self.name!r}: {error}") from error

    def _check_shape(self) -> None:
        if (self.convolution is None) != (self.op is LayerOp.FULLY_CONNECTED):
            raise ValueError(
                f"convolution must be given but where fully connected, not {self.convolution!r}"
            )
        if self.convolution is not None:
            self.convolution.check_weight(self.weight)
            if self.pool is not None:
                self.pool.output_size(*self.convolution.output_size)
            return
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise ValueError(f"weight must have shape (oc, ic), not {self.weight.shape}")
        if self.pool is not None:
            raise ValueError(f"pool must be None where fully connected, not {self.pool!r}")

    def _check_tensors(self) -> None:
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
                    f"{attribute} must be {np.dtype(dtype)} of shape {shape}, "
                    f"not {value.dtype} of shape {value.shape}"
                )
        if np.any(self.weight < -INT8_MAX):
            raise ValueError(f"weight must be at least {-INT8_MAX}, found -128")
        if not 0 <= self.shift <= SHIFT_MAX:
            raise ValueError(f"shift must be between 0 and {SHIFT_MAX}, not {self.shift!r}")
        if self.op is LayerOp.AVERAGE_POOL and (
            self.weight.shape[1] != 1 or np.any(self.weight != 1) or np.any(self.bias)
        ):
            raise ValueError("average must have one channel a group, weights of 1 and biases of 0")

    def _check_affine(self) -> None:
        if self.op is not LayerOp.AFFINE or self.convolution is None:
            return
        single = (len(self.weight), self.weight.shape[1]) == (self.convolution.input_shape[0], 1)
        if self.convolution.window != Window(size=(1, 1)) or not single:
            raise ValueError("affine must be a 1x1 convolution of each channel with stride 1")
        if np.any(np.abs(self.weight) != AFFINE_UNIT) or self.pool is not None:
            raise ValueError(f"affine must have weights of +-{AFFINE_UNIT} and no pooling")

    def _check_shortcut(self) -> None:
        if self.shortcut is None:
            return
        if self.op is not LayerOp.CONVOLUTION or self.pool is not None:
            raise ValueError("shortcut must be that of a convolution without pooling")
        self.shortcut.check_sums(self.sums_shape)
        other = self.negative_multiplier[self.negative_multiplier != self.multiplier]
        if np.any(other):
            raise ValueError(
                f"negative_multiplier must be 0 or the multiplier with a shortcut, not {other[0]}"
            )

    @property
    def multiplies(self) -> bool:
        """Whether the layer's products are those of weights and surviving activations."""
        return self.op is not LayerOp.AFFINE

    @property
    def sums_shape(self) -> tuple[int, ...]:
        """Shape of one image's sums: what is requantised, counted by the filter, then pooled."""
        positions = () if self.convolution is None else self.convolution.output_size
        return (self.weight.shape[0], *positions)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one image's output tensor, as it is stored and as consumers see it."""
        if self.pool is None:
            return self.sums_shape
        return (self.weight.shape[0], *self.pool.output_size(*self.sums_shape[1:]))

    @property
    def elements(self) -> int:
        """Elements of one image's output tensor."""
        return prod(self.output_shape)

    @property
    def input_elements(self) -> int:
        """Elements of one image's input tensor."""
        if self.convolution is None:
            return int(self.weight.shape[1])
        return prod(self.convolution.input_shape)

    @property
    def macs_dense(self) -> int:
        """Products of the layer with nothing skipped, those with padding included."""
        return int(self.weight.size) * prod(self.sums_shape[1:]) if self.multiplies else 0

    @property
    def macs_weight_only(self) -> int:
        """Products of `macs_dense` that have a non-zero weight."""
        living = int(np.count_nonzero(self.weight)) if self.multiplies else 0
        return living * prod(self.sums_shape[1:])

    @property
    def largest_sum(self) -> int:
        """Bound on the magnitude of any partial sum, for inputs of magnitude up to 127."""
        weight = self.weight.reshape(len(self.weight), -1).astype(np.int64)
        magnitude = np.abs(weight).sum(axis=1) * INT8_MAX
        return int((magnitude + np.abs(self.bias.astype(np.int64))).max())

    @property
    def reach(self) -> NDArray[np.int64]:
        """Products with a non-zero weight that each input element takes part in.

        int64, the input tensor's shape; a kernel's taps that fall outside the output are left out.
        """
        if self.convolution is None:
            per_input: NDArray[np.int64] = np.count_nonzero(self.weight, axis=0).astype(np.int64)
            return per_input
        return self.convolution.reach(self.weight)

    def sums(self, survivors: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return the exact sums including the bias.

        Parameters
        ----------
        survivors : int8, shape (images, ...)
            The input's elements in row-major order.

        Returns
        -------
        int64, shape (images, *sums_shape)
        """
        # Every partial sum is an integer that the chosen type holds: all are exact in any order.
        dtype: type[np.floating] = np.float32 if self.largest_sum < _EXACT_FLOAT32 else np.float64
        if self.convolution is None:
            product: NDArray[np.floating] = (
                survivors.reshape(len(survivors), -1).astype(dtype) @ self.weight.astype(dtype).T
            )
        else:
            maps = survivors.reshape(-1, *self.convolution.input_shape)
            product = self.convolution.sums(maps, self.weight, dtype)
        found: NDArray[np.int64] = product.astype(np.int64) + self.bias
        return np.moveaxis(found, -1, 1)

    def activations(
        self, survivors: NDArray[np.int8], carried: NDArray[np.int8] | None = None
    ) -> NDArray[np.int8]:
        """Return the requantised sums, before filter and pooling.

        Parameters
        ----------
        survivors : int8, shape (images, ...)
            The input's elements in row-major order.
        carried : int8, shape (images, *shortcut.input_shape)
            The shortcut's tensor as it is stored; None without a shortcut.

        Returns
        -------
        int8, shape (images, *sums_shape)
        """
        sums = np.moveaxis(self.sums(survivors), 1, -1)
        if self.shortcut is None:
            scaled = requantise(sums, self.multiplier, self.negative_multiplier, self.shift)
        else:
            assert carried is not None
            addend = np.moveaxis(self.shortcut.addend(carried, len(self.weight)), 1, -1)
            scaled = requantise_with_addend(
                sums,
                addend,
                multiplier=self.multiplier,
                negative_multiplier=self.negative_multiplier,
                addend_multiplier=self.shortcut.multiplier,
                shift=self.shift,
            )
        return np.ascontiguousarray(np.moveaxis(scaled, -1, 1))

    def stored(self, activations: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return the output tensor before filtering: the activations, pooled.

        Parameters
        ----------
        activations : int8, shape (images, *sums_shape)
        """
        return activations if self.pool is None else max_pool(activations, self.pool)

    def pairs(self, survivors: NDArray[np.int8]) -> NDArray[np.int64]:
        """Return the effective MACs per image: pairs of non-zero weight and surviving input.

        Parameters
        ----------
        survivors : int8, shape (images, ...)
            The input's elements in row-major order.
        """
        if not self.multiplies:
            return np.zeros(len(survivors), dtype=np.int64)
        found: NDArray[np.int64] = (survivors.reshape(len(survivors), -1) != 0) @ self.reach.ravel()
        return found
