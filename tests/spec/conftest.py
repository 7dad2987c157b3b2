import itertools

import numpy as np
import pytest

from jpnet_spec.network import INPUT, IntegerNetwork, Layer
from jpnet_spec.topn import ThresholdMode, TopN


def random_network(rng, dims, *, density=0.2, mode=ThresholdMode.EXACT, winners=None):
    layers = []
    source = INPUT
    for index, (ic, oc) in enumerate(itertools.pairwise(dims)):
        weight = rng.integers(-127, 128, (oc, ic)) * (rng.random((oc, ic)) < density)
        multiplier = rng.integers(2**15, 2**16, oc).astype(np.uint16)
        last = index == len(dims) - 2
        keep = TopN(
            mode=mode,
            winners=winners or max(1, oc // 4),
            static_threshold=9,
            sample_stride=2,
        )
        layers.append(
            Layer(
                name=f"fc{index + 1}",
                inputs=(source,),
                weight=weight.astype(np.int8),
                bias=rng.integers(-5000, 5000, oc).astype(np.int32),
                multiplier=multiplier,
                negative_multiplier=multiplier if last else multiplier * np.uint16(0),
                shift=23,
                top_n=TopN() if last else keep,
            )
        )
        source = f"fc{index + 1}"
    return IntegerNetwork(name="random", input_shape=(dims[0],), layers=tuple(layers))


def random_images(rng, count, elements, density=0.3):
    images = rng.integers(-127, 128, (count, elements)) * (rng.random((count, elements)) < density)
    return images.astype(np.int8)


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.fixture
def network(rng):
    return random_network(rng, (40, 30, 20, 10))
