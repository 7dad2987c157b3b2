"""Residual networks from torch to integers: capture, arithmetic, counts."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jpnet_spec.layer import LayerOp
from jpnet_spec.numbers import quantise_unit_image
from jpnet_spec.shortcut import ShortcutKind
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.metrics import measure
from jpnet_sw.models import build_model
from jpnet_sw.models.residual import Shortcut
from jpnet_sw.quantisation import (
    CapturedAffine,
    CapturedLayer,
    QuantisedLayer,
    calibrate,
    capture,
    layer_shapes,
    quantise,
    to_integer_network,
)
from jpnet_sw.sparsity import TopNFilter, WeightMasks
from jpnet_sw.sparsity.density import measure_density

SHAPE = (3, 8, 8)


def random_pixels(rng, count):
    return rng.integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def as_float(pixels):
    return torch.from_numpy(pixels.astype(np.float32) / 255)


def sparse_model(name, seed, *, rate=0.3, mode=ThresholdMode.EXACT, density=0.4):
    """A network with masks, filters, and normalisation of both signs."""
    torch.manual_seed(seed)
    model = build_model(name, SHAPE).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 3)
                module.weight.uniform_(-1.2, 1.2)
                module.bias.normal_(0, 0.3)
    layers = capture(model)
    weights = {x.name: x.linear.weight for x in layers if isinstance(x, CapturedLayer)}
    masks = WeightMasks(weights)
    masks.tighten(dict.fromkeys(weights, density))
    shapes = layer_shapes(layers, SHAPE)
    for layer in layers:
        if layer.top_n is not None and rate < 1:
            winners = int(rate * np.prod(shapes[layer.name][1]))
            layer.top_n.top_n = TopN(mode=mode, winners=winners, sample_stride=3)
    return model


def both(model, pixels):
    images, layers = as_float(pixels), capture(model)
    quantised = quantise(layers, calibrate(layers, images)).eval()
    network = to_integer_network(quantised, name="x", input_shape=SHAPE, metadata={})
    return quantised, network


def assert_equal_everywhere(quantised, network, pixels):
    """Every layer's stored tensor and every logit."""
    stored = {}
    hooks = [
        layer.register_forward_hook(
            lambda module, _, made: stored.__setitem__(module.name, made[0].numpy())
        )
        for layer in quantised.chain()
    ]
    with torch.no_grad():
        logits = quantised.integer_logits(as_float(pixels)).numpy()
    for hook in hooks:
        hook.remove()
    traces = network.run(quantise_unit_image(pixels))
    assert stored.keys() == traces.keys()
    for name, trace in traces.items():
        assert np.array_equal(stored[name].reshape(trace.tensor.shape), trace.tensor), name
    assert np.array_equal(logits, traces[network.layers[-1].name].tensor)
    assert len(np.unique(logits)) > 5
    return traces


@pytest.mark.parametrize("name", ["resnet20", "resnet20-relu"])
@pytest.mark.parametrize("mode", [ThresholdMode.EXACT, ThresholdMode.SAMPLED, ThresholdMode.NONE])
def test_torch_forward_equals_the_integer_network_in_every_layer(rng, name, mode):
    pixels = random_pixels(rng, 12)
    model = sparse_model(name, 1, mode=mode, rate=1 if mode is ThresholdMode.NONE else 0.3)
    quantised, network = both(model, pixels)
    traces = assert_equal_everywhere(quantised, network, pixels)
    if mode is not ThresholdMode.NONE:
        dropped = [name for name, x in traces.items() if (x.tensor != x.survivors).any()]
        assert len(dropped) == 19


@pytest.mark.parametrize("value", [0, 255])
def test_extreme_images_equal_the_integer_network(rng, value):
    quantised, network = both(sparse_model("resnet20", 2), random_pixels(rng, 12))
    pixels = np.full((2, *SHAPE), value, dtype=np.uint8)
    with torch.no_grad():
        logits = quantised.integer_logits(as_float(pixels)).numpy()
    assert np.array_equal(logits, network.logits(quantise_unit_image(pixels)))


def test_integers_follow_the_float_network(rng):
    pixels = random_pixels(rng, 40)
    model = sparse_model("resnet20", 3, rate=1, density=1.0)
    quantised, _ = both(model, pixels)
    with torch.no_grad():
        wanted, found = model(as_float(pixels)), quantised(as_float(pixels))
    assert float((wanted - found).abs().mean()) < 0.1 * float(wanted.std())


def test_pre_activation_blocks_become_sums_and_affine_layers():
    layers = capture(build_model("resnet20", SHAPE))
    kinds = Counter(type(layer).__name__ for layer in layers)
    assert kinds == {"CapturedLayer": 20, "CapturedAffine": 9, "CapturedAverage": 1}
    by_name = {layer.name: layer for layer in layers}
    first = by_name["conv1"]
    assert (first.inputs, first.norm is not None, first.negative_slope) == (("input",), True, 0.1)
    total, act = by_name["layer2.0.conv2"], by_name["layer2.0.bn_sum"]
    assert total.inputs == ("layer2.0.conv1", "layer1.2.conv2")
    assert (total.norm, total.negative_slope, total.top_n) == (None, 1, None)
    assert (total.shortcut.kind, total.shortcut.stride) == (ShortcutKind.AVERAGE, 2)
    assert (act.inputs, act.negative_slope) == (("layer2.0.conv2",), 0.1)
    assert act.top_n is not None
    assert by_name["layer2.1.conv1"].inputs == ("layer2.0.bn_sum",)
    assert by_name["layer1.0.conv2"].inputs == ("layer1.0.conv1", "conv1")


def test_post_activation_blocks_need_no_affine_layers():
    layers = capture(build_model("resnet20-relu", SHAPE))
    assert len(layers) == 21
    by_name = {layer.name: layer for layer in layers}
    total = by_name["layer3.0.conv2"]
    assert total.inputs == ("layer3.0.conv1", "layer2.2.conv2")
    assert (total.norm is not None, total.negative_slope) == (True, 0)
    assert total.top_n is not None


def test_masked_weights_and_negative_gains_reach_the_integers(rng):
    model = sparse_model("resnet20", 4)
    _, network = both(model, random_pixels(rng, 8))
    by_name = {layer.name: layer for layer in network.layers}
    gains = model.get_submodule("layer1.0.bn_sum").weight.detach().numpy()
    signs = np.sign(by_name["layer1.0.bn_sum"].weight.reshape(-1))
    assert np.array_equal(signs, np.where(gains < 0, -1, 1))
    pruned = model.get_submodule("layer1.0.conv2").weight.detach().numpy() == 0
    assert not by_name["layer1.0.conv2"].weight[pruned].any()
    ops = Counter(layer.op for layer in network.layers)
    assert ops[LayerOp.AFFINE] == 9


def test_tiny_gains_keep_their_offsets(rng):
    model = sparse_model("resnet20", 5)
    with torch.no_grad():
        model.get_submodule("layer1.0.bn_sum").weight[:3] = torch.tensor([0.0, 1e-9, -1e-6])
        model.get_submodule("layer1.0.bn_sum").bias[:3] = torch.tensor([2.0, 0.3, 1.0])
    pixels = random_pixels(rng, 8)
    quantised, network = both(model, pixels)
    assert_equal_everywhere(quantised, network, pixels)
    scale = next(x.output_scale for x in quantised.chain() if x.name == "layer1.0.bn_sum")
    tensor = network.run(quantise_unit_image(pixels))["layer1.0.bn_sum"].tensor
    for channel, offset in enumerate([2.0, 0.3, 1.0]):
        wanted = min(127, round(offset / scale))
        assert np.abs(tensor[:, channel].astype(int) - wanted).max() <= 1


def test_gradient_reaches_every_parameter(rng):
    pixels = random_pixels(rng, 8)
    for name in ("resnet20", "resnet20-relu"):
        quantised, _ = both(sparse_model(name, 6, rate=1, density=1.0), pixels)
        quantised.train()
        quantised(as_float(pixels)).square().sum().backward()
        for key, parameter in quantised.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.abs().sum() > 0, key


class UserNetwork(nn.Module):
    """Residual blocks as people write them: bare additions, projections, leaky after the sum."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv_a = nn.Conv2d(4, 4, 3, padding=1)
        self.leaky = nn.LeakyReLU(0.2)
        self.top_n = TopNFilter(TopN(mode=ThresholdMode.EXACT, winners=60))
        self.project = nn.Conv2d(4, 6, 1, stride=2)
        self.conv_b = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6 * 4 * 4, 10)

    def forward(self, images):
        x = self.relu(self.stem(images))
        x = self.top_n(self.leaky(self.conv_a(x) + x))
        x = self.norm(self.conv_b(x)) + self.project(x)
        return self.fc(torch.flatten(self.relu2(x), 1))

    @staticmethod
    def relu2(x):
        return x


def test_networks_that_users_write_equal_their_integers(rng):
    torch.manual_seed(7)
    model = UserNetwork().eval()
    pixels = random_pixels(rng, 30)
    quantised, network = both(model, pixels)
    traces = assert_equal_everywhere(quantised, network, pixels)
    assert list(traces) == ["stem", "conv_a", "leaky", "conv_b", "project", "fc"]
    by_name = {layer.name: layer for layer in network.layers}
    assert by_name["project"].inputs == ("leaky", "conv_b")
    assert by_name["leaky"].op is LayerOp.AFFINE
    with torch.no_grad():
        wanted, found = model(as_float(pixels)), quantised(as_float(pixels))
    assert float((wanted - found).abs().mean()) < 0.1 * float(wanted.std())


def refused(forward, message, **modules):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for name, module in modules.items():
                self.add_module(name, module)

    Net.forward = forward
    with pytest.raises(ValueError, match=message):
        capture(Net())


def conv():
    return nn.Conv2d(3, 3, 3, padding=1)


def test_graphs_that_cannot_be_expressed_are_refused():
    refused(
        lambda self, x: self.c(x) + self.f(self.a(x)),
        "step 'add' must add a tensor before its TopNFilter",
        a=nn.Sequential(conv(), nn.ReLU()),
        f=TopNFilter(),
        c=conv(),
    )
    refused(
        lambda self, x: self.r(self.a(x)) + self.r2(self.c(x)),
        "step 'add' must add to the sums of a Conv2d layer",
        a=conv(),
        c=conv(),
        r=nn.ReLU(),
        r2=nn.ReLU(),
    )

    def half_filtered(self, x):
        x = self.r(self.a(x))
        return self.c(self.f(x)) + self.d(x)

    refused(
        half_filtered,
        "layer 'd' must take 'a' after its TopNFilter",
        a=conv(),
        r=nn.ReLU(),
        f=TopNFilter(),
        c=conv(),
        d=conv(),
    )

    def pooled_elsewhere(self, x):
        x = self.r(self.a(x))
        return self.c(self.p(x)) + self.s(x)

    refused(
        pooled_elsewhere,
        "layer 'p' must be the only one that takes 'a'",
        a=conv(),
        r=nn.ReLU(),
        p=nn.MaxPool2d(2),
        c=conv(),
        s=Shortcut(3, 3, stride=2),
    )
    refused(lambda self, x: self.c(self.c(x)), "layer 'c' must be used once, not again", c=conv())
    refused(
        lambda self, x: self.d(self.s(self.c(x))),
        "layer 'd' must not take a Shortcut, an addition must",
        c=conv(),
        d=conv(),
        s=Shortcut(3, 3),
    )
    refused(
        lambda self, x: functional.relu(self.c(x)),
        "step 'relu' must be a module of the kinds .*, or an addition, not 'relu'",
        c=conv(),
    )
    refused(
        lambda self, x: self.c(x) if x.sum() > 0 else x,
        "model must do the same with every image",
        c=conv(),
    )
    refused(lambda self, x, y: self.c(x), "model must take images only, not 'y' too", c=conv())
    refused(
        lambda self, x: torch.add(self.c(x), x, alpha=2),
        "step 'add' must be a module of the kinds",
        c=conv(),
    )

    def forgotten(self, x):
        y = self.c(x)
        self.d(y)
        return y

    refused(forgotten, "model must return the output of its last layer 'd'", c=conv(), d=conv())


def pairs_by_zeros_and_ones(layer, survivors):
    """Count pairs with torch's convolution of zeros and ones, summed over all outputs."""
    ones = torch.from_numpy((layer.weight != 0).astype(np.float64))
    given = torch.from_numpy((survivors != 0).astype(np.float64))
    if layer.convolution is None:
        return functional.linear(given.flatten(1), ones).sum(dim=1)
    window = layer.convolution.window
    groups = layer.convolution.channel_groups
    sums: Tensor = functional.conv2d(
        given, ones, None, window.stride, window.padding[::2], 1, groups
    )
    return sums.sum(dim=(1, 2, 3))


@pytest.mark.parametrize("name", ["resnet20", "resnet20-relu"])
def test_effective_macs_equal_a_forward_pass_of_zeros_and_ones(rng, name):
    pixels = random_pixels(rng, 6)
    quantised, network = both(sparse_model(name, 8), pixels)
    images = quantise_unit_image(pixels)
    traces = network.run(images)
    given = {"input": images} | {key: trace.survivors for key, trace in traces.items()}
    counts = measure(network, images, np.zeros(6, np.uint8))
    multiplying = [layer for layer in network.layers if layer.op is not LayerOp.AFFINE]
    assert [layer.name for layer in counts.layers] == [layer.name for layer in multiplying]
    for layer, found in zip(multiplying, counts.layers, strict=True):
        survivors = given[layer.inputs[0]]
        wanted = pairs_by_zeros_and_ones(layer, survivors)
        assert traces[layer.name].macs_effective.tolist() == wanted.tolist()
        assert found.macs_effective == pytest.approx(float(wanted.mean()))
        assert found.activation_density == pytest.approx(float((survivors != 0).mean()))
        assert found.macs_dense == layer.weight.size * np.prod(layer.sums_shape[1:], dtype=int)
    summary = counts.summary()
    assert summary["macs_dense"] == network.macs_dense
    with torch.no_grad():
        for module in quantised.weighted():
            module.weight.mul_((module.integer_weight() != 0).float())
    while_training = measure_density(quantised, as_float(pixels), kinds=(QuantisedLayer,))
    by_name = {layer.name: layer for layer in counts.layers}
    for density in while_training:
        wanted = by_name[density.name]
        assert density.macs_effective == pytest.approx(wanted.macs_effective, rel=1e-5)
        assert density.macs_dense == wanted.macs_dense


def test_dense_macs_of_resnet32_are_those_of_its_shapes():
    layers = capture(build_model("resnet32", (3, 32, 32)))
    shapes = layer_shapes(layers, (3, 32, 32))
    found = sum(
        layer.linear.weight.numel() * int(np.prod(shapes[layer.name][1][1:]))
        for layer in layers
        if isinstance(layer, CapturedLayer)
    )
    stage = 16 * 16 * 9 * 1024 * 10
    # The first convolution of stages 2 and 3 has half the input channels.
    assert found == 3 * 16 * 9 * 1024 + stage + 2 * (stage - stage // 20) + 640
    assert sum(isinstance(layer, CapturedAffine) for layer in layers) == 15
