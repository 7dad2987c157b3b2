"""Which modules may follow a layer, as parts of it."""

from dataclasses import replace

from torch import nn

from jpnet_sw.quantisation.affine import CapturedAffine
from jpnet_sw.quantisation.average import CapturedAverage
from jpnet_sw.quantisation.captured import CapturedLayer
from jpnet_sw.quantisation.geometry import check_pool
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["ORDER", "Captured", "fuse"]

ORDER = (
    "Linear, Conv2d or AvgPool2d, BatchNorm2d, ReLU or LeakyReLU, TopNFilter, MaxPool2d, Dropout"
)
"""The order of a layer's modules."""

Captured = CapturedLayer | CapturedAverage | CapturedAffine
"""Every kind of layer."""


def fuse(layer: Captured, name: str, module: nn.Module) -> Captured:
    """Return a layer with one more module.

    Parameters
    ----------
    layer
        What it follows.
    name
        The module's.
    module
        Normalisation, activation function, filter, max pooling or dropout.

    Raises
    ------
    ValueError
        If the order is another than `ORDER`, or the module's settings cannot be expressed.
    """
    fused = _fuse_output(layer, name, module)
    if fused is None and not isinstance(layer, CapturedAverage):
        fused = _fuse_sums(layer, name, module)
    if fused is None:
        raise ValueError(
            f"layer {name!r} must come in the order {ORDER}, not as {type(module).__name__!r} there"
        )
    return fused


def _fuse_output(layer: Captured, name: str, module: nn.Module) -> Captured | None:
    pool = layer.pool if isinstance(layer, CapturedLayer) else None
    if isinstance(module, nn.Dropout) and layer.dropout is None:
        return replace(layer, dropout=module)
    if isinstance(module, TopNFilter) and not _any(layer.top_n, pool, layer.dropout):
        return replace(layer, top_n=module)
    if (
        isinstance(module, nn.MaxPool2d)
        and isinstance(layer, CapturedLayer)
        and layer.spatial
        and not layer.residual
        and not _any(pool, layer.dropout)
    ):
        check_pool(name, module)
        return replace(layer, pool=module)
    return None


def _fuse_sums(
    layer: CapturedLayer | CapturedAffine, name: str, module: nn.Module
) -> CapturedLayer | CapturedAffine | None:
    pool = layer.pool if isinstance(layer, CapturedLayer) else None
    if layer.negative_slope != 1 or _any(layer.top_n, pool, layer.dropout):
        return None
    if isinstance(module, nn.ReLU):
        return replace(layer, negative_slope=0.0)
    if isinstance(module, nn.LeakyReLU):
        if not 0 <= module.negative_slope <= 1:
            raise ValueError(
                f"layer {name!r}: negative_slope must be between 0 and 1, "
                f"not {module.negative_slope!r}"
            )
        return replace(layer, negative_slope=float(module.negative_slope))
    if isinstance(module, nn.BatchNorm2d) and layer.spatial and layer.norm is None:
        return replace(layer, norm=module)
    return None


def _any(*modules: nn.Module | None) -> bool:
    return any(module is not None for module in modules)
