import pytest
import torch

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.methods import build_method
from jpnet_sw.sparsity.methods.variational_dropout import dropout_divergence
from jpnet_sw.sparsity.pruner import Pruner


def test_divergence_of_dropout_falls_to_zero_as_noise_takes_over():
    log_alpha = torch.linspace(-8, 8, 50)
    divergence = dropout_divergence(log_alpha)
    assert torch.all(divergence.diff() < 0)
    assert float(divergence[-1]) == pytest.approx(0.0, abs=1e-3)
    # 1/2 log(1 + 1/alpha) leads for little noise, k1 comes on top.
    assert float(divergence[0]) == pytest.approx(4.0 + 0.63576, abs=1e-3)


def test_divergence_of_dropout_approximates_the_true_one():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(400_000, generator=generator)
    for log_alpha in (-2.0, 0.0, 2.0):
        # Up to a constant: 1/2 log alpha - E log |eps|, eps ~ N(1, alpha).
        true = [
            -0.5 * value + float((1 + torch.tensor(value / 2).exp() * noise).abs().log().mean())
            for value in (log_alpha, 8.0)
        ]
        found = dropout_divergence(torch.tensor([log_alpha, 8.0]))
        assert float(found[0] - found[1]) == pytest.approx(true[0] - true[1], abs=0.02)


def test_dropout_noise_has_the_variance_of_the_weights(pruning_target, one_layer, set_weight):
    torch.manual_seed(0)
    model = one_layer(3)
    set_weight(model, torch.tensor([[1.0, -2.0, 0.5]]))
    method = build_method("vd", {}, pruning_target(model, (1.0,)))
    with torch.no_grad():
        method.log_variance["fc"].copy_(torch.tensor([[0.1, 0.2, 0.3]]).log())
    pruner = Pruner(method)
    inputs = torch.tensor([[1.0, 2.0, 3.0]]).expand(40_000, 3)
    outputs = model.train()(inputs).detach()
    assert float(outputs.mean()) == pytest.approx(1 - 4 + 1.5, abs=0.03)
    assert float(outputs.var()) == pytest.approx(0.1 + 4 * 0.2 + 9 * 0.3, rel=0.03)
    assert float(model.eval()(inputs[:1]).detach()) == pytest.approx(-1.5)
    pruner.finalise()


def test_weights_of_mostly_noise_are_cut_in_evaluation_and_for_good(
    pruning_target, one_layer, set_weight
):
    model = one_layer(3)
    set_weight(model, torch.tensor([[1.0, -2.0, 0.5]]))
    target = pruning_target(model, (1.0,))
    method = build_method("vd", {}, target)
    with torch.no_grad():
        method.log_variance["fc"].copy_(torch.tensor([[2.9, 4.4, 1.62]]))
    pruner = Pruner(method)
    inputs = torch.tensor([[1.0, 10.0, 100.0]])
    assert float(model.eval()(inputs).detach()) == 1.0
    pruner.finalise()
    assert target.masks.masks["fc"].tolist() == [[1, 0, 0]]
    assert float(model(inputs).detach()) == 1.0


def test_divergence_warms_up(pruning_target, one_layer):
    method = build_method(
        "vd", {"warm_from": 0.1, "warm_to": 0.3}, pruning_target(one_layer(3), (1.0,))
    )

    def at(step):
        return method.penalty(Clock(step=step, active_steps=100, images=10))

    assert at(10) is None
    full = float(at(30).detach())
    assert float(at(20).detach()) == pytest.approx(full / 2)
    assert float(at(90).detach()) == pytest.approx(full)
    alpha = method.log_alpha(method.layers[0])
    assert full == pytest.approx(float(dropout_divergence(alpha).sum().detach()) / 10)
