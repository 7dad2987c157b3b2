import itertools

import numpy as np
import pytest
import torch
from torch import nn

from jpnet_spec.pooling import max_pool
from jpnet_sw.quantisation.geometry import convolution_of, pool_window


@pytest.mark.parametrize(
    ("size", "stride", "padding", "ceil_mode", "maps"),
    [
        case
        for case in itertools.product((2, 3, (3, 2)), (1, 2, 4), (0, 1), (False, True), (5, 8, 11))
    ],
)
def test_pool_windows_give_what_torch_gives(rng, size, stride, padding, ceil_mode, maps):
    module = nn.MaxPool2d(size, stride=stride, padding=padding, ceil_mode=ceil_mode)
    tensor = rng.integers(-127, 128, (2, 3, maps, maps + 1)).astype(np.int8)
    wanted = module(torch.from_numpy(tensor.astype(np.float32))).numpy()
    assert np.array_equal(max_pool(tensor, pool_window(module, tensor.shape[2:])), wanted)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("size", [1, 4, 5, 11, (3, 2)])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("padding", [0, "half", "same", "valid"])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_give_what_torch_gives(rng, size, stride, padding, groups):
    if padding == "same" and stride != 1:
        stride = 1  # torch has no other
    extents = size if isinstance(size, tuple) else (size, size)
    if padding == "half":
        padding = tuple(extent // 2 for extent in extents)
    module = nn.Conv2d(4, 6, size, stride=stride, padding=padding, groups=groups, bias=False)
    weight = rng.integers(-127, 128, module.weight.shape).astype(np.int8)
    maps = rng.integers(-127, 128, (2, 4, 13, 12)).astype(np.int8)
    exact = module.double()
    with torch.no_grad():
        exact.weight.copy_(torch.from_numpy(weight))
        wanted = exact(torch.from_numpy(maps.astype(np.float64))).numpy()
    convolution = convolution_of(module, (4, 13, 12))
    found = convolution.sums(maps, weight, np.float64)
    assert np.array_equal(found.transpose(0, 3, 1, 2), wanted)
