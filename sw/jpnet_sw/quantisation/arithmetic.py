"""The specification's arithmetic on integers that torch holds as float32."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import FunctionCtx

from jpnet_spec.numbers import INT8_MAX

__all__ = ["EXACT_SUM", "add_and_requantise", "exact_scale", "requantise_sums", "round_clamp"]

EXACT_SUM = 2**24
"""Sums below this are exact in float32, in any order."""

_CHUNK_VALUES = 2**16
"""Sums that are requantised at once: what a core's caches hold."""


def exact_scale(multiplier: NDArray[np.uint16], shift: int) -> Tensor:
    """Return ``multiplier * 2**-shift`` as float64, exact."""
    return torch.from_numpy(multiplier.astype(np.float64)) * 2.0**-shift


def round_clamp(value: Tensor, limit: float) -> Tensor:
    """Round half to even and clamp; the gradient passes where nothing was clamped."""
    rounded: Tensor = _Round.apply(value, limit)  # type: ignore[no-untyped-call]
    return rounded


def requantise_sums(acc: Tensor, scale: Tensor, negative_scale: Tensor) -> Tensor:
    """Return `jpnet_spec.numbers.requantise` of exact sums; the gradient is the scale.

    Parameters
    ----------
    acc : float32 integers, shape (images, oc) or (images, oc, rows, columns)
    scale, negative_scale : float64, shape (oc,) or (1,)
        For sums >= 0 and < 0.
    """
    positions = (1,) * (acc.ndim - 2)
    scaled: Tensor = _Requantise.apply(  # type: ignore[no-untyped-call]
        acc, scale.reshape(-1, *positions), negative_scale.reshape(-1, *positions)
    )
    return scaled


def add_and_requantise(
    acc: Tensor, addend: Tensor, *, scale: Tensor, addend_scale: float, rectify: bool
) -> Tensor:
    """Return `jpnet_spec.numbers.requantise_with_addend`; the gradients are the scales.

    Parameters
    ----------
    acc, addend : float32 integers, shape (images, oc, rows, columns)
    scale : float64, shape (oc,)
    addend_scale
        The addend's multiplier times a power of two, exact.
    rectify
        Whether negative results become 0.
    """
    made: Tensor = _AddAndRequantise.apply(  # type: ignore[no-untyped-call]
        acc, addend, (scale[:, None, None], addend_scale), 0.0 if rectify else -float(INT8_MAX)
    )
    return made


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(value.abs() <= limit)
        return value.round().clamp(-limit, limit)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grads[0] * inside, None


class _Requantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, acc: Tensor, scale: Tensor, negative_scale: Tensor) -> Tensor:
        slope, made = torch.empty_like(acc), torch.empty_like(acc)
        step = len(acc) if acc.is_cuda else max(1, _CHUNK_VALUES // max(1, acc[:1].numel()))
        for first in range(0, len(acc), step):
            part = slice(first, first + step)
            chosen = torch.where(acc[part] < 0, negative_scale, scale)  # float64
            # A 24-bit sum times a 16-bit multiplier and a power of two is exact in float64.
            product = acc[part].double().mul_(chosen)
            slope[part] = chosen.mul_(product.abs() <= INT8_MAX)
            made[part] = product.round_().clamp_(-INT8_MAX, INT8_MAX)
        ctx.save_for_backward(slope)
        return made

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grads[0] * slope, None, None


class _AddAndRequantise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, acc: Tensor, addend: Tensor, scales: tuple[Tensor, float], smallest: float
    ) -> Tensor:
        scale, addend_scale = scales
        inside, made = torch.empty_like(acc), torch.empty_like(acc)
        step = len(acc) if acc.is_cuda else max(1, _CHUNK_VALUES // max(1, acc[:1].numel()))
        for first in range(0, len(acc), step):
            part = slice(first, first + step)
            # Both products are of at most 40 bits: products and sum are exact in float64.
            total = acc[part].double().mul_(scale)
            total.add_(addend[part].double(), alpha=addend_scale)
            inside[part] = (total >= smallest) & (total <= INT8_MAX)
            made[part] = total.round_().clamp_(smallest, INT8_MAX)
        ctx.save_for_backward(inside, scale.float())
        ctx.addend_scale = addend_scale  # type: ignore[attr-defined]
        return made

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        inside, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        passed = grads[0] * inside
        return passed * scale, passed * ctx.addend_scale, None, None  # type: ignore[attr-defined]
