"""Small random networks, images and a small configuration for tests and benches."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.network import INPUT, IntegerNetwork, Layer
from jpnet_spec.numbers import choose_multipliers
from jpnet_spec.topn import ThresholdMode, TopN

__all__ = [
    "CLUSTERED",
    "DIMS",
    "GEOMETRIES",
    "MODES",
    "SMALL",
    "STREAMED",
    "random_images",
    "random_network",
]

SMALL = AcceleratorConfig(
    lanes=2,
    groups=2,
    clusters=2,
    act_word=8,
    weight_depth=512,
    pointer_depth=256,
    acc_depth=32,
    act_depth=32,
    param_depth=64,
    program_depth=8,
)
"""Builds in seconds and has two of everything but contexts."""

STREAMED = replace(
    SMALL,
    weight_depth=64,
    pointer_depth=128,
    program_depth=64,
    param_depth=256,
    list_decoder=1,
)
"""Streams the lists of networks as small as those of `DIMS`."""

CLUSTERED = replace(
    SMALL,
    groups=1,
    clusters=4,
    weight_depth=128,
    acc_depth=128,
    act_depth=256,
    param_depth=256,
    program_depth=512,
    list_decoder=1,
)
"""Has as many clusters as contexts, and memories that cut the inputs of larger layers."""

GEOMETRIES: dict[str, AcceleratorConfig] = {
    "single": replace(
        SMALL,
        lanes=1,
        groups=1,
        clusters=1,
        contexts=1,
        weight_depth=2048,
        acc_depth=64,
        param_depth=128,
    ),
    "narrow": replace(
        STREAMED,
        lanes=4,
        groups=1,
        contexts=1,
        act_word=4,
        weight_depth=4096,
        acc_depth=256,
        act_depth=128,
        axi_data_width=32,
        list_decoder=0,
    ),
    "wide": replace(
        SMALL,
        lanes=8,
        groups=1,
        clusters=1,
        contexts=2,
        act_word=16,
        axi_data_width=128,
        axi_addr_width=40,
        weight_depth=2048,
    ),
    "divided": replace(
        SMALL,
        clusters=1,
        contexts=2,
        weight_depth=256,
        pointer_depth=128,
        acc_depth=512,
        act_depth=512,
        param_depth=512,
        program_depth=512,
    ),
}
"""Odd shapes, few because each is a build.

``narrow`` has the narrowest bus, and holds enough channel rows for weight entries of 32 bits;
``divided`` divides the inputs of the layers of `DIMS`.
"""

DIMS = (40, 30, 21, 12, 7)
"""Input elements and outputs of each layer; none but the first fills whole words."""

MODES = (ThresholdMode.EXACT, ThresholdMode.SAMPLED, ThresholdMode.STATIC, ThresholdMode.NONE)
"""A threshold mode for each layer of `DIMS`."""


def _random_layer(
    rng: np.random.Generator, *, name: str, source: str, ic: int, oc: int, mode: ThresholdMode
) -> Layer:
    density = rng.random((oc, 1)) * 0.8
    weight = rng.integers(-127, 128, (oc, ic)) * (rng.random((oc, ic)) < density)
    reach = np.abs(weight).sum(axis=1) * 20 + 400
    multiplier, shift = choose_multipliers((127 / reach).tolist())
    negative = np.where(rng.random(oc) < 0.5, 0, multiplier // 4).astype(np.uint16)
    return Layer(
        name=name,
        inputs=(source,),
        weight=weight.astype(np.int8),
        bias=rng.integers(-400, 400, oc).astype(np.int32),
        multiplier=multiplier,
        negative_multiplier=negative,
        shift=shift,
        top_n=TopN(mode=mode, winners=max(1, oc // 3), static_threshold=11, sample_stride=3),
    )


def random_network(
    rng: np.random.Generator,
    *,
    dims: Sequence[int] = DIMS,
    modes: Sequence[ThresholdMode] = MODES,
) -> IntegerNetwork:
    """Return a network of fully connected layers, filters of unequal density.

    Parameters
    ----------
    rng
        Source of everything random.
    dims
        Input elements, then outputs of each layer.
    modes
        Threshold mode of each layer.
    """
    names = [INPUT, *(f"fc{index + 1}" for index in range(len(dims) - 1))]
    layers = tuple(
        _random_layer(rng, name=name, source=source, ic=ic, oc=oc, mode=mode)
        for name, source, ic, oc, mode in zip(
            names[1:], names[:-1], dims[:-1], dims[1:], modes, strict=True
        )
    )
    return IntegerNetwork(name="random", input_shape=(dims[0],), layers=layers)


def random_images(
    rng: np.random.Generator, count: int, elements: int = DIMS[0]
) -> NDArray[np.int8]:
    """Return images of random values, six in ten of them 0; int8, shape (count, elements)."""
    images = rng.integers(-127, 128, (count, elements)) * (rng.random((count, elements)) < 0.4)
    return images.astype(np.int8)
