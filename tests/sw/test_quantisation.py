from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from jpnet_spec.numbers import quantise_unit_image
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.models import mlp3
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


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([("conv", nn.Conv2d(1, 1, 3))], r"layer 'conv' must be Linear, .*, not 'Conv2d'"),
        ([("relu", nn.ReLU())], r"layer 'relu' must follow a Linear layer"),
        ([("a", nn.Flatten())], r"at least one Linear layer, not 0"),
        (
            [("a", nn.Linear(2, 2)), ("f", TopNFilter()), ("r", nn.ReLU())],
            r"layer 'r' must come in the order Linear, ReLU, TopNFilter, Dropout",
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
    assert [layer.relu for layer in layers] == [True, True, False]
    assert layers[-1].top_n is None
