import pytest
import torch

from jpnet_sw.sparsity.clock import Clock


def test_border_is_mean_plus_spreads_or_the_densitys_magnitude(
    pruning_target, one_layer, set_weight, method_trainer
):
    model = one_layer(4)
    set_weight(model, torch.tensor([[1.0, -2.0, 3.0, -4.0]]))
    trainer = method_trainer(pruning_target(model, (0.5,)), "dns", {"spreads": "0.5"})
    trainer.pruner.before_step(Clock(step=0, active_steps=10))
    deviation = (1.25) ** 0.5
    assert trainer.method.get_buffer("border:fc") == pytest.approx(2.5 + 0.5 * deviation)
    set_weight(model, torch.tensor([[1.0, -2.0, 3.0, -4.0]]))
    target = pruning_target(model, (0.5,))
    trainer = method_trainer(target, "dns", {"margin": 0.2})
    trainer.pruner.finalise()
    # 0.8 borders are the largest magnitude that goes.
    assert trainer.method.get_buffer("border:fc") == pytest.approx(2.0 / 0.8)
    assert target.masks.masks["fc"].tolist() == [[0, 0, 1, 1]]


def test_hidden_weight_grows_and_is_spliced_back(
    pruning_target, one_layer, set_weight, quadratic, method_trainer
):
    model = one_layer(3)
    set_weight(model, torch.tensor([[2.0, 1.0, 0.1]]))
    target = pruning_target(model, (1 / 3,))
    trainer = method_trainer(target, "dns", {"decay": 0, "spreads": "0.5"}, rate=0.1, active=80)
    pulls = quadratic(model, torch.ones(1, 3), torch.tensor([[2.0, 0.2, 4.0]]))
    trainer.step(pulls)
    assert target.masks.masks["fc"].tolist() == [[1, 0, 0]]
    trainer.run(pulls, 90)
    assert target.masks.masks["fc"].tolist() == [[1, 0, 1]]
    assert not target.masks.shadows


def test_updates_become_rare_as_the_schedule_says(
    pruning_target, monkeypatch, one_layer, method_trainer
):
    model = one_layer(50)
    target = pruning_target(model, (0.5,))
    trainer = method_trainer(target, "dns", {"decay": 0.1, "power": 1}, active=10_000)
    updates = []
    monkeypatch.setattr(type(target.masks), "set", lambda self, masks: updates.append(1))
    torch.manual_seed(0)
    expected = 0.0
    for step in range(2000):
        expected += 1 / (1 + 0.1 * step)
        trainer.pruner.before_step(Clock(step=step, active_steps=10_000))
    assert abs(len(updates) - expected) < 4 * expected**0.5


def test_density_is_kept_however_the_weights_grow(
    pruning_target, one_layer, quadratic, method_trainer
):
    model = one_layer(64)
    target = pruning_target(model, (0.25,))
    trainer = method_trainer(target, "dns", {"decay": 0}, rate=0.1, active=80)
    torch.manual_seed(1)
    optimum = 10 * torch.randn(1, 64)
    trainer.run(quadratic(model, torch.ones(1, 64), optimum), 90)
    trainer.pruner.finalise()
    assert int(target.masks.masks["fc"].sum()) == 16
