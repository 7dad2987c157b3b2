"""Pre-activation blocks that begin with the weights of trained post-activation blocks."""

import pytest
import torch
from torch import nn

from jpnet_sw.models import Checkpoint, begin_converted, build_model, is_convertible

SHAPE = (3, 8, 8)


def lively(model, *, positive=False):
    """Return a network whose normalisations do something; sums of positive blocks stay positive."""
    torch.manual_seed(3)
    network = build_model(model, SHAPE)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.2, 0.3)
    if positive:
        for name, parameter in network.named_parameters():
            if name.endswith("bn2.bias"):
                nn.init.constant_(parameter, 2.0)
            if name.endswith("bn2.weight"):
                nn.init.constant_(parameter, 0.05)
    return network.eval()


def saved(network, path, *, mean=(0.0,) * 3, deviation=(1.0,) * 3):
    tensors = {k: v.clone() for k, v in network.state_dict().items() if not k.endswith("tracked")}
    return Checkpoint(path=path, tensors=tensors, mean=mean, deviation=deviation)


def without_own_kinds(network):
    """Give a converted network what it does not take over: activation functions and shortcuts."""
    for module in network.modules():
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = 0.0
        if hasattr(module, "kind") and hasattr(module, "first_channel"):
            module.kind = type(module.kind).SUBSAMPLE
    return network


def test_same_answers_where_no_sum_is_cut_off(tmp_path):
    trained = lively("resnet20-relu", positive=True)
    network = without_own_kinds(build_model("resnet20", SHAPE))
    images = torch.rand(40, *SHAPE)
    begin_converted(network, saved(trained, tmp_path), images)
    with torch.no_grad():
        wanted = trained(images)
        torch.testing.assert_close(network.eval()(images), wanted, rtol=1e-4, atol=1e-3)
        assert wanted.std() > 0.1


def test_training_mode_computes_the_same_on_those_images(tmp_path):
    trained = lively("resnet20-relu")
    network = without_own_kinds(build_model("resnet20", SHAPE))
    images = torch.rand(40, *SHAPE)
    begin_converted(network, saved(trained, tmp_path), images)
    assert network.training
    first = network.get_submodule("layer1.0.bn_sum")
    seen = []
    first.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        network.eval()(images)
    (given, got) = seen[0]
    first.train()
    torch.testing.assert_close(first(given), got, rtol=1e-3, atol=1e-3)


def test_normalisation_is_folded_in(tmp_path):
    trained = lively("resnet20-relu")
    one, other = (build_model("resnet20", SHAPE) for _ in range(2))
    images = torch.rand(8, *SHAPE)
    begin_converted(one, saved(trained, tmp_path), images)
    mean, deviation = (0.2, 0.3, 0.4), (0.5, 0.25, 2.0)
    begin_converted(other, saved(trained, tmp_path, mean=mean, deviation=deviation), images)
    factor = one.conv1.weight / other.conv1.weight
    for channel, wanted in enumerate(deviation):
        torch.testing.assert_close(
            factor[:, channel], torch.full_like(factor[:, channel], wanted), rtol=1e-4, atol=1e-4
        )
    assert not torch.equal(one.bn1.running_mean, other.bn1.running_mean)


@pytest.mark.parametrize(
    ("model", "checkpoint", "convertible"),
    [
        ("resnet20", "resnet20-relu", True),
        ("resnet20", "resnet20", False),
        ("resnet20-relu", "resnet20-relu", False),
        ("convnet5", "resnet20-relu", False),
    ],
)
def test_what_is_convertible(tmp_path, model, checkpoint, convertible):
    source = saved(build_model(checkpoint, SHAPE), tmp_path)
    assert is_convertible(source, build_model(model, (3, 24, 24))) is convertible
