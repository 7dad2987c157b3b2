import pytest
import torch
from torch import nn

from jpnet_sw.models import convnet5, lenet4, mlp3
from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.methods import build_method
from jpnet_sw.sparsity.methods.bottleneck import bottleneck_divergence
from jpnet_sw.sparsity.methods.hard_concrete import chance_alive, hard_concrete
from jpnet_sw.sparsity.pruner import Pruner


def test_share_of_open_gates_is_the_chance_that_is_penalised():
    torch.manual_seed(0)
    log_alpha = torch.tensor([-3.0, -0.5, 0.0, 1.0, 3.0])
    gates = hard_concrete(log_alpha, torch.rand(200_000, 5))
    assert gates.min() == 0
    assert gates.max() == 1
    found = (gates > 0).float().mean(dim=0)
    assert torch.allclose(found, chance_alive(log_alpha), atol=0.005)


def test_l0_penalty_counts_the_weights_of_each_gate(pruning_target):
    torch.manual_seed(0)
    model = lenet4((1, 28, 28))
    target = pruning_target(model, (1.0,) * 4)
    options = {"strength": "10,0.5,0.1,10", "weight_decay": 0.02}
    method = build_method("l0", options, target)
    assert {site.key: (site.size, site.group_weights()) for site in method.sites} == {
        "conv1:out": (20, 25),
        "conv2:out": (50, 500),
        "fc1:in": (800, 500),
        "fc2:in": (500, 10),
    }
    penalty = float(method.penalty(Clock(step=0, active_steps=1, images=1000)).detach())
    wanted = 0.0
    for key, strength, weight, axes in (
        ("conv1:out", 10, model.conv1.weight, (1, 2, 3)),
        ("conv2:out", 0.5, model.conv2.weight, (1, 2, 3)),
        ("fc1:in", 0.1, model.fc1.weight, (0,)),
        ("fc2:in", 10, model.fc2.weight, (0,)),
    ):
        chance = chance_alive(method.log_alpha[key])
        size = weight.numel() / len(chance)
        wanted += float(
            (chance * (strength * size + 0.01 * weight.square().sum(dim=axes))).sum().detach()
        )
    assert penalty == pytest.approx(wanted / 1000, rel=1e-5)


def test_l0_parameters_stay_in_range(pruning_target):
    method = build_method("l0", {}, pruning_target(mlp3((1, 4, 4)), (1.0,) * 3))
    for log_alpha in method.log_alpha.values():
        log_alpha.data.fill_(100)
    Pruner(method).after_step(0.1)
    most = max(float(log_alpha.detach().max()) for log_alpha in method.log_alpha.values())
    assert most == pytest.approx(4.60517)


@pytest.mark.parametrize("name", ["l0", "vib"])
@pytest.mark.parametrize("build", [mlp3, convnet5])
def test_folded_gates_compute_what_the_hooked_network_does(pruning_target, name, build):
    torch.manual_seed(5)
    model = build((1, 12, 12))
    densities = (1.0,) * (3 if build is mlp3 else 5)
    target = pruning_target(model, densities)
    method = build_method(name, {}, target)
    images = torch.rand(6, 1, 12, 12)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
    model(images)
    plain = model.eval()(images)
    with torch.no_grad():
        for kind, parameter in method.named_parameters():
            parameter.add_(3 * torch.randn_like(parameter) + 9 * kind.startswith("log_variance"))
    pruner = Pruner(method)
    hooked = model(images)
    pruner.finalise()
    assert torch.allclose(model(images), hooked, atol=1e-4)
    assert not torch.allclose(plain, hooked, atol=1e-2)
    assert min(target.masks.densities().values()) < 0.9


def test_gates_are_drawn_anew_for_each_image_or_for_the_batch(pruning_target, one_layer):
    torch.manual_seed(0)
    model = one_layer(50, rows=3)
    inputs = torch.ones(4, 50)
    for per_image, different in (("true", True), ("false", False)):
        pruner = Pruner(build_method("l0", {"per_image": per_image}, pruning_target(model, (1.0,))))
        outputs = model.train()(inputs)
        assert torch.allclose(outputs[0], outputs[1]) is not different
        pruner.finalise()


def test_divergence_is_half_the_log_of_one_plus_signal_over_noise():
    mean, log_variance = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([0.0, 1.0, -3.0])
    wanted = 0.5 * (torch.log(torch.tensor(2.0)) + torch.log(1 + 4 / torch.tensor(1.0).exp()))
    assert torch.allclose(bottleneck_divergence(mean, log_variance), wanted)


def test_vib_penalty_weights_maps_by_size_and_width(pruning_target):
    torch.manual_seed(0)
    model = lenet4((1, 28, 28))
    method = build_method("vib", {"strength": 1.0}, pruning_target(model, (1.0,) * 4))
    pruner = Pruner(method)
    model(torch.rand(2, 1, 28, 28))
    found = float(method.penalty(Clock(step=0, active_steps=1)).detach())
    parts = {
        key: float(bottleneck_divergence(method.mean[key], method.log_variance[key]).detach())
        for key in method.mean
    }
    assert set(parts) == {"conv1:out", "conv2:out", "fc1:out"}
    wanted = parts["conv1:out"] * 576 / 20 + parts["conv2:out"] * 64 / 50 + parts["fc1:out"]
    assert found == pytest.approx(wanted, rel=1e-5)
    pruner.finalise()


def test_vib_cuts_channels_whose_noise_reaches_their_signal(pruning_target):
    method = build_method("vib", {}, pruning_target(mlp3((1, 4, 4)), (1.0,) * 3))
    assert {site.key for site in method.sites} == {"fc1:out", "fc2:out", "fc1:in"}
    with torch.no_grad():
        method.mean["fc2:out"].fill_(2.0)
        method.log_variance["fc2:out"].fill_(1.38)
        method.log_variance["fc2:out"][:7] = 1.39  # log 4 is 1.386
    site = next(site for site in method.sites if site.key == "fc2:out")
    assert method.certain(site).tolist() == [0.0] * 7 + [2.0] * 93


def test_vib_noise_has_the_mean_and_variance_of_its_parameters(pruning_target):
    torch.manual_seed(0)
    method = build_method("vib", {}, pruning_target(mlp3((1, 4, 4)), (1.0,) * 3))
    site = method.sites[0]
    with torch.no_grad():
        method.mean[site.key].fill_(1.5)
        method.log_variance[site.key].fill_(-1.0)
    drawn = method.draw(site, 5000).detach()
    assert float(drawn.mean()) == pytest.approx(1.5, abs=0.01)
    assert float(drawn.var()) == pytest.approx(0.3679, abs=0.01)
