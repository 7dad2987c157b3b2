"""Small random convolutional networks for tests and benches."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.convolution import Convolution
from jpnet_spec.network import INPUT, IntegerNetwork, Layer, LayerOp
from jpnet_spec.numbers import choose_multipliers
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_spec.window import Window

__all__ = [
    "branching_network",
    "overhanging_network",
    "random_convolutional_network",
    "random_maps",
]

_KERNELS = (1, 2, 3, 3, 4, 5, 5, 7, 11)
_STRIDES = (1, 1, 1, 2, 2, 4)
_POOLS = ((2, 2), (2, 1), (3, 1), (3, 2))
"""Extents and strides of pooling windows."""
_DENSITIES = (0.0, 0.05, 0.3, 0.3, 0.6, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Next:
    """What the next layer reads."""

    source: str
    shape: tuple[int, ...]


def random_convolutional_network(
    rng: np.random.Generator, *, largest: int = 13, channels: int = 9, overlapping: bool = True
) -> IntegerNetwork:
    """Return one to three spatial layers of any geometry, most with a fully connected one after.

    Parameters
    ----------
    rng
        Source of everything random.
    largest
        Height and width of the image, at most.
    channels
        Of every map, at most.
    overlapping
        Whether some pooling windows overlap; the accumulators must hold all rows of such a layer.
    """
    shape = (
        int(rng.integers(1, channels + 1)),
        int(rng.integers(3, largest + 1)),
        int(rng.integers(3, largest + 1)),
    )
    layers: list[Layer] = []
    end = _Next(source=INPUT, shape=shape)
    for index in range(int(rng.integers(1, 4))):
        name = f"conv{index + 1}"
        if rng.random() < 0.2:
            layers.append(_average(rng, name, end))
        else:
            layers.append(_convolution(rng, name, end, channels, overlapping=overlapping))
        end = _Next(source=name, shape=layers[-1].output_shape)
    if rng.random() < 0.8:
        layers.append(_fully_connected(rng, "fc1", end, outputs=int(rng.integers(1, 14))))
        layers.append(
            _fully_connected(rng, "fc2", _Next(source="fc1", shape=layers[-1].output_shape), 5)
        )
    return IntegerNetwork(name="random", input_shape=shape, layers=tuple(layers))


def branching_network(rng: np.random.Generator, shape: tuple[int, ...]) -> IntegerNetwork:
    """Return a convolution and a fully connected layer that read the same image."""
    end = _Next(source=INPUT, shape=shape)
    layers = (
        _convolution(rng, "conv1", end, channels=9, overlapping=True),
        _fully_connected(rng, "fc1", end, 7),
    )
    return IntegerNetwork(name="branching", input_shape=shape, layers=layers)


def overhanging_network(
    rng: np.random.Generator, *, lanes: int, accumulators: int
) -> IntegerNetwork:
    """Return a convolution that fills the accumulators, and a fully connected layer.

    Its pooling windows overlap and hang over the map's lower edge, and a row of outputs more would
    not fit: of a single cluster the drain must not read that row.

    Parameters
    ----------
    rng
        Source of everything random.
    lanes
        Of the accelerator.
    accumulators
        Of a lane, for an image.
    """
    while True:
        height, width = 2 * int(rng.integers(2, 8)), int(rng.integers(3, 15))
        rows = accumulators // (height * width)
        if rows and (height + 1) * width * rows > accumulators:
            break
    border = int(rng.integers(1, 3))
    shape = (int(rng.integers(2, 5)), height, width)
    window = Window(size=(2 * border + 1,) * 2, padding=(border,) * 4)
    outputs = rows * lanes - int(rng.integers(lanes))
    layer = _layer(
        rng,
        (outputs, shape[0], *window.size),
        # Enough work that an image is summed while the one before it is drained.
        _DENSITIES[3:],
        name="conv1",
        op=LayerOp.CONVOLUTION,
        inputs=(INPUT,),
        convolution=Convolution(input_shape=shape, window=window),
        pool=Window(size=(3, 3), stride=2, padding=(0, 1, 0, int(rng.integers(2)))),
        top_n=_filter(rng, outputs * height * width),
    )
    end = _Next(source="conv1", shape=layer.output_shape)
    layers = (layer, _fully_connected(rng, "fc1", end, outputs=5))
    return IntegerNetwork(name="overhanging", input_shape=shape, layers=layers)


def random_maps(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Return images of random values, six in ten of them 0; int8, shape (count, *shape)."""
    images = rng.integers(-127, 128, (count, *shape)) * (rng.random((count, *shape)) < 0.4)
    return images.astype(np.int8)


def _window(rng: np.random.Generator, height: int, width: int) -> Window:
    """Return a kernel that fits, of odd shapes and with paddings on any side."""
    rows = min(int(rng.choice(_KERNELS)), height)
    columns = rows if rng.random() < 0.6 else min(int(rng.choice(_KERNELS)), width)
    columns = min(columns, width)
    limits = (rows, rows, columns, columns)
    padding = tuple(int(rng.integers(0, limit)) if rng.random() < 0.5 else 0 for limit in limits)
    return Window(
        size=(rows, columns),
        stride=int(rng.choice(_STRIDES)),
        padding=(padding[0], padding[1], padding[2], padding[3]),
    )


def _filter(rng: np.random.Generator, elements: int) -> TopN:
    return TopN(
        mode=ThresholdMode(int(rng.integers(len(ThresholdMode)))),
        winners=max(1, elements // 3),
        static_threshold=int(rng.integers(20)),
        sample_stride=int(rng.integers(2, 8)),
    )


def _pool(rng: np.random.Generator, size: tuple[int, int], *, overlapping: bool) -> Window | None:
    """Return a pooling window that fits, or None; it may hang over by all but one pixel."""
    extent, stride = _POOLS[int(rng.integers(len(_POOLS) if overlapping else 1))]
    over = rng.integers(0, extent, 2).tolist() if rng.random() < 0.5 else [0, 0]
    fits = size[0] + over[0] >= extent and size[1] + over[1] >= extent
    if not fits or rng.random() < 0.4:
        return None
    return Window(size=(extent, extent), stride=stride, padding=(0, over[0], 0, over[1]))


def _convolution(
    rng: np.random.Generator, name: str, end: _Next, channels: int, *, overlapping: bool
) -> Layer:
    ic, height, width = end.shape
    parts = int(rng.choice([part for part in range(1, ic + 1) if ic % part == 0]))
    parts = parts if rng.random() < 0.3 else 1
    oc = parts * int(rng.integers(1, max(1, channels // parts) + 1))
    geometry = Convolution(
        input_shape=(ic, height, width), window=_window(rng, height, width), channel_groups=parts
    )
    size = geometry.output_size
    return _layer(
        rng,
        (oc, ic // parts, *geometry.window.size),
        name=name,
        op=LayerOp.CONVOLUTION,
        inputs=(end.source,),
        convolution=geometry,
        pool=_pool(rng, size, overlapping=overlapping),
        top_n=_filter(rng, oc * size[0] * size[1]),
    )


def _average(rng: np.random.Generator, name: str, end: _Next) -> Layer:
    channels, height, width = end.shape
    whole = Window(size=(height, width))
    window = whole if rng.random() < 0.3 else _window(rng, height, width)
    geometry = Convolution(
        input_shape=(channels, height, width), window=window, channel_groups=channels
    )
    multiplier, shift = choose_multipliers([1 / (window.size[0] * window.size[1])] * channels)
    return Layer(
        name=name,
        op=LayerOp.AVERAGE_POOL,
        inputs=(end.source,),
        weight=np.ones((channels, 1, *window.size), dtype=np.int8),
        bias=np.zeros(channels, dtype=np.int32),
        multiplier=multiplier,
        negative_multiplier=multiplier,
        shift=shift,
        convolution=geometry,
    )


def _fully_connected(rng: np.random.Generator, name: str, end: _Next, outputs: int) -> Layer:
    return _layer(
        rng,
        (outputs, prod(end.shape)),
        name=name,
        inputs=(end.source,),
        top_n=_filter(rng, outputs),
    )


def _layer(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    densities: tuple[float, ...] = _DENSITIES,
    **fields: Any,
) -> Layer:
    """Return a layer with weights of that shape and multipliers that use the whole range.

    The density of the weights differs from layer to layer, and often from channel to channel.
    """
    uneven = rng.choice(densities) * (0.5 + rng.random(shape[0]))
    density = uneven if rng.random() < 0.5 else np.full(shape[0], rng.choice(densities))
    kept = rng.random(shape) < density.reshape(-1, *[1] * (len(shape) - 1))
    weight = rng.integers(-127, 128, shape) * kept
    reach = np.abs(weight.reshape(shape[0], -1)).sum(axis=1) * 20 + 400
    multiplier, shift = choose_multipliers((127 / reach).tolist())
    negative = np.where(rng.random(shape[0]) < 0.5, 0, multiplier // 4).astype(np.uint16)
    return Layer(
        weight=weight.astype(np.int8),
        bias=rng.integers(-400, 400, shape[0]).astype(np.int32),
        multiplier=multiplier,
        negative_multiplier=negative,
        shift=shift,
        **fields,
    )
