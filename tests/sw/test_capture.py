from collections import OrderedDict

import pytest
from torch import nn

from jpnet_sw.models import convnet5, lenet4, mlp3
from jpnet_sw.quantisation import capture
from jpnet_sw.sparsity import TopNFilter


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([("gelu", nn.GELU())], r"layer 'gelu' must be one of Linear, Conv2d or .*, not 'GELU'"),
        ([("relu", nn.ReLU())], r"layer 'relu' must follow a Linear or Conv2d layer"),
        ([("a", nn.Flatten())], r"at least one Linear or Conv2d layer, not 0"),
        (
            [("a", nn.Linear(2, 2)), ("f", TopNFilter()), ("r", nn.ReLU())],
            r"layer 'r' must come in the order .*, not as 'ReLU' there",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("r", nn.ReLU()), ("n", nn.BatchNorm2d(1))],
            r"layer 'n' must come in the order .*, not as 'BatchNorm2d' there",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("p", nn.MaxPool2d(2)), ("f", TopNFilter())],
            r"layer 'f' must come in the order .*, not as 'TopNFilter' there",
        ),
        (
            [("a", nn.Linear(4, 4)), ("p", nn.MaxPool2d(2))],
            r"layer 'p' must come in the order .*, not as 'MaxPool2d' there",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("fc", nn.Linear(4, 4))],
            r"layer 'fc' must follow a Flatten, not maps",
        ),
        (
            [("f", nn.Flatten()), ("c", nn.Conv2d(1, 1, 3))],
            r"layer 'c' must come before Flatten and Linear, not after",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("r", nn.LeakyReLU(-1.0))],
            r"layer 'r': negative_slope must be between 0 and 1, not -1.0",
        ),
        ([("c", nn.Conv2d(1, 1, 3, dilation=2))], r"layer 'c': dilation must be 1, not \(2, 2\)"),
        (
            [("c", nn.Conv2d(1, 1, 3, stride=(1, 2)))],
            r"layer 'c': stride must be the same both ways, not \(1, 2\)",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"))],
            r"layer 'c': padding_mode must be 'zeros', not 'reflect'",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("p", nn.MaxPool2d(2, stride=(1, 2)))],
            r"layer 'p': stride must be the same both ways, not \(1, 2\)",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("p", nn.MaxPool2d(2, dilation=2))],
            r"layer 'p': dilation must be 1, not 2",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("p", nn.MaxPool2d(2, return_indices=True))],
            r"layer 'p': return_indices must be False, not True",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("a", nn.AvgPool2d(2, ceil_mode=True))],
            r"layer 'a': every window must have the same divisor, not ceil_mode=True",
        ),
        (
            [
                ("c", nn.Conv2d(1, 1, 3)),
                ("a", nn.AvgPool2d(2, padding=1, count_include_pad=False)),
            ],
            r"layer 'a': every window must have the same divisor, .*count_include_pad=False",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("a", nn.AvgPool2d(2, divisor_override=3))],
            r"layer 'a': divisor_override must be None, not 3",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("a", nn.AdaptiveAvgPool2d(2))],
            r"layer 'a': output_size must be 1, not 2",
        ),
        (
            [("c", nn.Conv2d(1, 1, 3)), ("a", nn.AvgPool2d(2)), ("r", nn.ReLU())],
            r"layer 'r' must come in the order .*, not as 'ReLU' there",
        ),
    ],
)
def test_models_that_cannot_be_expressed_are_refused_by_layer(modules, message):
    with pytest.raises(ValueError, match=message):
        capture(nn.Sequential(OrderedDict(modules)))


def test_fused_layers_carry_activation_filter_and_dropout():
    layers = capture(mlp3((1, 28, 28)))
    assert [layer.name for layer in layers] == ["fc1", "fc2", "fc3"]
    assert [tuple(layer.linear.weight.shape) for layer in layers] == [
        (300, 784),
        (100, 300),
        (10, 100),
    ]
    assert [layer.negative_slope for layer in layers] == [0, 0, 1]
    assert layers[-1].top_n is None


@pytest.mark.parametrize(
    ("build", "image_shape", "shapes"),
    [
        (
            lenet4,
            (1, 28, 28),
            {
                "conv1": ((20, 24, 24), (20, 12, 12)),
                "conv2": ((50, 8, 8), (50, 4, 4)),
                "fc1": ((500,), (500,)),
                "fc2": ((10,), (10,)),
            },
        ),
        (
            convnet5,
            (3, 24, 24),
            {
                "conv1": ((64, 24, 24), (64, 12, 12)),
                "conv2": ((64, 12, 12), (64, 6, 6)),
                "fc1": ((384,), (384,)),
                "fc2": ((192,), (192,)),
                "fc3": ((10,), (10,)),
            },
        ),
    ],
)
def test_shapes_before_and_after_pooling_are_known(build, image_shape, shapes):
    shape = image_shape
    for layer in capture(build(image_shape)):
        assert (layer.sums_shape(shape), layer.output_shape(shape)) == shapes[layer.name]
        shape = layer.output_shape(shape)
