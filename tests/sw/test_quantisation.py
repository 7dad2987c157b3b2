from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from jpnet_spec.numbers import quantise_unit_image
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.models import convnet5, lenet4, mlp3
from jpnet_sw.quantisation import (
    calibrate,
    capture,
    quantise,
    to_integer_network,
)
from jpnet_sw.quantisation.network import input_activations
from jpnet_sw.sparsity import TopNFilter, WeightMasks

FILTERS = [
    TopN(),
    TopN(mode=ThresholdMode.EXACT, winners=20),
    TopN(mode=ThresholdMode.SAMPLED, winners=20, sample_stride=3),
]


def random_model(seed, shape=(1, 8, 8), *, density=0.2, top_n=None):
    torch.manual_seed(seed)
    model = mlp3(shape)
    layers = capture(model)
    masks = WeightMasks({layer.name: layer.linear.weight for layer in layers})
    masks.tighten({layer.name: density for layer in layers})
    for layer in layers[:-1]:
        layer.top_n.top_n = top_n or TopN()
    return model


def random_images(rng, count, shape=(1, 8, 8)):
    pixels = rng.integers(0, 256, (count, *shape)) * (rng.random((count, *shape)) < 0.5)
    return pixels.astype(np.uint8)


def as_float(pixels):
    return torch.from_numpy(pixels.astype(np.float32) / 255)


def both(model, pixels):
    images = as_float(pixels)
    quantised = quantise(capture(model), calibrate(capture(model), images)).eval()
    network = to_integer_network(
        quantised, name="mlp3", input_shape=tuple(pixels.shape[1:]), metadata={}
    )
    with torch.no_grad():
        logits = quantised.integer_logits(images).numpy()
    return quantised, network, logits


def test_input_equals_the_specified_quantisation_for_every_pixel():
    pixels = np.arange(256, dtype=np.uint8)
    found = input_activations(as_float(pixels)).numpy()
    assert np.array_equal(found, quantise_unit_image(pixels))


@pytest.mark.parametrize("top_n", FILTERS)
@pytest.mark.parametrize("density", [0.01, 0.2, 1.0])
def test_torch_forward_equals_the_integer_network(rng, top_n, density):
    pixels = random_images(rng, 300)
    model = random_model(5, density=density, top_n=top_n)
    _, network, logits = both(model, pixels)
    expected = network.logits(quantise_unit_image(pixels))
    assert np.array_equal(logits, expected)
    assert len(np.unique(expected)) > 5


def test_static_threshold_equals_the_integer_network(rng):
    pixels = random_images(rng, 200)
    quantised = both(random_model(8), pixels)[0]
    for layer in quantised.chain()[:-1]:
        layer.top_n.top_n = TopN(mode=ThresholdMode.STATIC, static_threshold=30)
    network = to_integer_network(quantised, name="mlp3", input_shape=(1, 8, 8), metadata={})
    with torch.no_grad():
        logits = quantised.integer_logits(as_float(pixels)).numpy()
    assert np.array_equal(logits, network.logits(quantise_unit_image(pixels)))


@pytest.mark.parametrize("value", [0, 255])
def test_extreme_images_equal_the_integer_network(rng, value):
    pixels = random_images(rng, 50)
    quantised, network, _ = both(random_model(6, density=1.0), pixels)
    extreme = np.full((3, 1, 8, 8), value, dtype=np.uint8)
    with torch.no_grad():
        logits = quantised.integer_logits(as_float(extreme)).numpy()
    assert np.array_equal(logits, network.logits(quantise_unit_image(extreme)))


def test_channel_without_weights_still_has_a_multiplier(rng):
    model = random_model(7)
    with torch.no_grad():
        model.fc1.weight[3] = 0
    pixels = random_images(rng, 100)
    _, network, logits = both(model, pixels)
    assert network.layers[0].multiplier[3] >= 1
    assert np.array_equal(logits, network.logits(quantise_unit_image(pixels)))


def test_pruned_weights_stay_exactly_zero(rng):
    model = random_model(9, density=0.1)
    network = both(model, random_images(rng, 50))[1]
    pruned = model.fc1.weight.detach().numpy() == 0
    assert np.all(network.layers[0].weight[pruned] == 0)


def test_relu_layers_drop_negative_sums_and_the_last_keeps_them(rng):
    network = both(random_model(10), random_images(rng, 50))[1]
    first, last = network.layers[0], network.layers[-1]
    assert not first.negative_multiplier.any()
    assert np.array_equal(last.negative_multiplier, last.multiplier)


def test_gradient_reaches_every_unclamped_parameter(rng):
    pixels = random_images(rng, 100)
    quantised = both(random_model(11, density=1.0), pixels)[0].train()
    quantised(as_float(pixels)).square().sum().backward()
    for layer in quantised.chain():
        assert layer.weight.grad.abs().sum() > 0
        assert layer.bias.grad.abs().sum() > 0


def test_sums_beyond_exact_float32_are_refused(rng):
    quantised = both(random_model(12), random_images(rng, 50))[0]
    layer = quantised.chain()[0]
    with torch.no_grad():
        layer.bias.fill_(1e6)
    layer.weight_scale.fill_(1e-4)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    wide = nn.Parameter(torch.ones(300, 2000))
    layer.weight = wide
    with pytest.raises(ValueError, match=r"layer 'fc1': sums must stay below 16777216, not \d+"):
        to_integer_network(quantised, name="mlp3", input_shape=(1, 8, 8), metadata={})


def convolutional(seed, *, slope=0.0, top_n=None, norm=True, groups=1):
    """Everything that may follow a convolution, twice, with statistics that are not trivial."""
    torch.manual_seed(seed)
    modules = OrderedDict(
        conv1=nn.Conv2d(2, 6, 5, padding=2, bias=not norm),
        norm1=nn.BatchNorm2d(6) if norm else nn.Identity(),
        act1=nn.ReLU() if slope == 0 else nn.LeakyReLU(slope),
        top_n1=TopNFilter(top_n),
        pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
        conv2=nn.Conv2d(6, 8, (3, 2), stride=2, padding="valid", groups=groups),
        act2=nn.ReLU() if slope == 0 else nn.LeakyReLU(slope),
        top_n2=TopNFilter(top_n),
        flatten=nn.Flatten(),
        fc=nn.Linear(8 * 3 * 3, 5),
    )
    if not norm:
        del modules["norm1"]
    model = nn.Sequential(modules)
    if norm:
        with torch.no_grad():
            model.norm1.running_mean.uniform_(-0.2, 0.2)
            model.norm1.running_var.uniform_(0.2, 2)
            model.norm1.weight.uniform_(-1, 2)
            model.norm1.bias.uniform_(-0.5, 0.5)
    return model.eval()


@pytest.mark.parametrize("top_n", FILTERS)
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("norm", [True, False])
def test_convolutions_in_torch_equal_the_integer_network(rng, top_n, slope, norm):
    pixels = random_images(rng, 40, (2, 14, 14))
    model = convolutional(3, slope=slope, top_n=top_n, norm=norm, groups=2)
    _, network, logits = both(model, pixels)
    images = quantise_unit_image(pixels)
    assert np.array_equal(logits, network.logits(images))
    assert len(np.unique(logits)) > 5
    traces = network.run(images)
    if slope:
        assert traces["conv1"].tensor.min() < 0
    assert traces["conv1"].tensor.shape[1:] == (6, 7, 7)
    assert [layer.convolution is None for layer in network.layers] == [False, False, True]


@pytest.mark.parametrize(("build", "shape"), [(lenet4, (1, 28, 28)), (convnet5, (3, 24, 24))])
def test_the_convolutional_models_equal_their_integer_networks(rng, build, shape):
    torch.manual_seed(4)
    model = build(shape).eval()
    layers = capture(model)
    masks = WeightMasks({layer.name: layer.linear.weight for layer in layers})
    masks.tighten({layer.name: 0.3 for layer in layers})
    for layer in layers[:-1]:
        layer.top_n.top_n = TopN(mode=ThresholdMode.EXACT, winners=150)
    pixels = random_images(rng, 12, shape)
    _, network, logits = both(model, pixels)
    assert np.array_equal(logits, network.logits(quantise_unit_image(pixels)))
    assert network.macs_dense == {28: 2_293_000, 24: 18_470_784}[shape[1]]


def test_batch_norm_folds_into_weights_and_biases(rng):
    model = convolutional(5)
    images = as_float(random_images(rng, 6, (2, 14, 14)))
    layer = capture(model)[0]
    weight, bias = layer.folded()
    with torch.no_grad():
        wanted = model.norm1(model.conv1(images))
        assert torch.allclose(layer.sums(images, weight, bias), wanted, atol=1e-5)


def test_pruned_kernels_stay_exactly_zero_through_batch_norm(rng):
    model = convolutional(6)
    with torch.no_grad():
        model.conv1.weight[:, :, ::2] = 0
    network = both(model, random_images(rng, 20, (2, 14, 14)))[1]
    assert not network.layers[0].weight[:, :, ::2].any()
    assert network.layers[0].weight[:, :, 1::2].any()


def test_leaky_multipliers_are_the_slope_of_the_positive_ones(rng):
    network = both(convolutional(7, slope=0.25), random_images(rng, 20, (2, 14, 14)))[1]
    first = network.layers[0]
    found = first.negative_multiplier / first.multiplier
    assert found == pytest.approx(np.full(6, 0.25), rel=0.01)


def test_gradient_reaches_kernels_through_filter_and_pooling(rng):
    model = convolutional(8, top_n=TopN(mode=ThresholdMode.EXACT, winners=60))
    quantised = both(model, random_images(rng, 20, (2, 14, 14)))[0].train()
    quantised(as_float(random_images(rng, 20, (2, 14, 14)))).square().sum().backward()
    for layer in quantised.chain():
        assert layer.weight.grad.abs().sum() > 0


def test_images_of_another_shape_are_refused_by_layer(rng):
    quantised = both(convolutional(9), random_images(rng, 20, (2, 14, 14)))[0]
    for shape, message in (
        ((2, 20, 20), r"layer 'fc': weight must take \d+ inputs"),
        ((14, 14), r"layer 'conv1': input must be channels, height and width"),
        ((2, 2, 2), r"layer 'conv2': window of 3x2 must not be larger than the padded map"),
    ):
        with pytest.raises(ValueError, match=message):
            to_integer_network(quantised, name="x", input_shape=shape, metadata={})


@pytest.mark.parametrize(
    "average",
    [
        nn.AvgPool2d(2),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.AvgPool2d((3, 1), stride=1),
        nn.AdaptiveAvgPool2d(1),
    ],
)
@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_averages_in_torch_equal_the_integer_network(rng, average, slope):
    torch.manual_seed(13)
    model = nn.Sequential(
        nn.Conv2d(2, 5, 3),
        nn.LeakyReLU(slope),
        TopNFilter(TopN(mode=ThresholdMode.EXACT, winners=150)),
        average,
        TopNFilter(TopN(mode=ThresholdMode.EXACT, winners=4)),
        nn.Flatten(),
        nn.Linear(5 * average(torch.zeros(5, 8, 8))[0].numel(), 6),
    ).eval()
    pixels = random_images(rng, 60, (2, 10, 10))
    quantised, network, logits = both(model, pixels)
    assert np.array_equal(logits, network.logits(quantise_unit_image(pixels)))
    assert len(np.unique(logits)) > 5
    assert [layer.op.value for layer in network.layers] == [
        "convolution",
        "average_pool",
        "fully_connected",
    ]
    assert [layer.name for layer in quantised.weighted()] == ["0", "6"]
    with torch.no_grad():
        close = quantised(as_float(pixels)) - model(as_float(pixels))
    assert close.abs().max() < 0.2
