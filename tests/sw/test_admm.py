import pytest
import torch

from jpnet_sw.models import mlp3


def test_admm_adds_the_distances_gradient_and_updates_the_dual(
    pruning_target, one_layer, set_weight, method_trainer
):
    model = one_layer(4)
    start = torch.tensor([[1.0, -2.0, 3.0, -4.0]])
    set_weight(model, start)
    options = {"rho": 0.5, "iterations": 2}
    trainer = method_trainer(pruning_target(model, (0.5,)), "admm", options, rate=0.0, active=4)
    trainer.step(lambda: 0 * model.fc.weight.sum())
    projected = torch.tensor([[0.0, 0.0, 3.0, -4.0]])
    assert torch.allclose(model.fc.weight.grad, 0.5 * (start - projected))
    trainer.run(lambda: 0 * model.fc.weight.sum(), 2)
    assert torch.allclose(trainer.method.get_buffer("dual:fc"), start - projected)
    assert torch.equal(trainer.method.get_buffer("projected:fc"), torch.tensor([[0, -4.0, 0, -4]]))


def test_admm_on_a_quadratic_finds_the_support_and_its_distance_shrinks(
    pruning_target, one_layer, set_weight, quadratic, method_trainer
):
    model = one_layer(6)
    optimum = torch.tensor([[3.0, -2.0, 0.5, 0.4, -0.3, 0.2]])
    set_weight(model, optimum)
    target = pruning_target(model, (1 / 3,))
    trainer = method_trainer(target, "admm", {"rho": 2.0, "iterations": 20}, active=400)
    trainer.run(quadratic(model, torch.ones(1, 6), optimum), 401)
    assert target.masks.masks["fc"].tolist() == [[1, 1, 0, 0, 0, 0]]
    distances = trainer.pruner.facts()["admm_distances"]
    assert len(distances) == 20
    assert distances[-1] < 0.05 * distances[0]


@pytest.mark.parametrize("projection", ["count", "darb", "lanes"])
def test_admm_ends_on_its_projection(pruning_target, projection, method_trainer):
    torch.manual_seed(1)
    target = pruning_target(mlp3((1, 8, 8)), (0.1, 0.1, 0.3))
    trainer = method_trainer(target, "admm", {"projection": projection}, active=2)
    trainer.pruner.finalise()
    living = {name: int(mask.sum()) for name, mask in target.masks.masks.items()}
    if projection == "darb":
        assert 0.07 * 19200 < living["fc1"] <= 0.1 * 19200
    elif projection == "count":
        assert living == {"fc1": 1920, "fc2": 3000, "fc3": 300}
    else:
        assert set(target.masks.masks["fc2"].sum(dim=1).tolist()) == {30}
