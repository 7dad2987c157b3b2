import pytest
import torch
from torch import nn
from torch.nn import functional

from jpnet_sw.models import mlp3
from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.score import SensitivityAverage, SensitivityScore, normalised
from jpnet_sw.sparsity.structure import Structure


def test_filters_of_smallest_mean_magnitude_die_with_their_bias(pruning_target, method_trainer):
    torch.manual_seed(0)
    model = mlp3((1, 4, 4))
    target = pruning_target(model, (0.25, 1.0, 1.0))
    score = model.fc1.weight.detach().abs().mean(dim=1)
    trainer = method_trainer(target, "magnitude", {"structure": "filter"})
    trainer.pruner.before_step(Clock(step=0, active_steps=5))
    trainer.pruner.finalise()
    living = target.masks.masks["fc1"].any(dim=1)
    assert living.sum() == 75
    assert score[living].min() > score[~living].max()
    assert torch.all(model.fc1.bias[~living] == 0)
    assert not target.masks.masks["fc2"][:, ~living].any()
    assert target.masks.masks["fc3"].all()


def test_a_layer_keeps_a_filter(pruning_target, method_trainer):
    torch.manual_seed(0)
    target = pruning_target(mlp3((1, 4, 4)), (0.25, 1.0, 1.0))
    options = {"structure": "filter", "selector": "threshold", "value": 1e9}
    trainer = method_trainer(target, "magnitude", options)
    trainer.pruner.before_step(Clock(step=0, active_steps=5))
    assert target.masks.masks["fc1"].any(dim=1).sum() == 1
    assert target.masks.masks["fc2"].any(dim=1).sum() == 1


def test_global_magnitude_gives_layers_densities_of_their_own(pruning_target, method_trainer):
    torch.manual_seed(0)
    target = pruning_target(mlp3((1, 8, 8)), (0.1, 0.1, 0.1))
    trainer = method_trainer(target, "magnitude", {"scope": "global", "keep_rows": "false"})
    trainer.pruner.before_step(Clock(step=0, active_steps=5))
    living = sum(mask.sum() for mask in target.masks.masks.values())
    assert living == int(0.1 * (64 * 300 + 300 * 100 + 1000))
    assert target.masks.densities()["fc1"] > 2 * target.masks.densities()["fc2"]


def test_sensitivity_of_a_quadratic_is_curvature_times_squared_weight():
    weight = nn.Parameter(torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]]))
    curvature = torch.tensor([[4.0, 1.0, 0.1], [2.0, 9.0, 3.0]])
    (0.5 * curvature * weight.square()).sum().backward()
    score = SensitivityScore(weight)
    score.add(weight, weight.grad)
    assert torch.allclose(score.score(weight), curvature * weight.square())
    grouped = SensitivityScore(weight, Structure.FILTER)
    grouped.add(weight, weight.grad)
    assert torch.allclose(grouped.score(weight), (curvature * weight.square()).sum(dim=1))


def test_gradient_average_vanishes_where_batches_pull_apart():
    weight = nn.Parameter(torch.tensor([[2.0]]))
    found = {}
    for average in SensitivityAverage:
        score = SensitivityScore(weight, average=average)
        score.add(weight, torch.tensor([[1.0]]))
        score.add(weight, torch.tensor([[-1.0]]))
        found[average] = float(score.score(weight))
    assert found == {SensitivityAverage.PRODUCT: 2.0, SensitivityAverage.GRADIENT: 0.0}


def test_scaling_two_layers_against_each_other_changes_magnitude_but_not_sensitivity():
    torch.manual_seed(3)
    inputs, wanted = torch.rand(20, 6), torch.rand(20, 4)
    first, second = torch.randn(8, 6), torch.randn(4, 8)
    scores = []
    for factor in (1.0, 7.0):
        one, two = nn.Parameter(first * factor), nn.Parameter(second / factor)
        (functional.linear(inputs @ one.T, two) - wanted).square().sum().backward()
        scores.append([])
        for weight in (one, two):
            score = SensitivityScore(weight)
            score.add(weight, weight.grad)
            scores[-1].append(score.score(weight))
    for plain, scaled in zip(*scores, strict=True):
        assert torch.allclose(plain, scaled, rtol=1e-3)
    assert normalised(scores[0][0]).square().mean() == pytest.approx(1)


def test_sensitivity_prunes_what_the_loss_does_not_feel_and_lets_it_return(
    pruning_target, one_layer, set_weight, quadratic, method_trainer
):
    model = one_layer(4)
    set_weight(model, torch.tensor([[1.0, 1.0, 3.0, 0.5]]))
    target = pruning_target(model, (0.5,))
    curvature = torch.tensor([[5.0, 1.0, 0.0, 9.0]])
    optimum = torch.zeros(1, 4)
    trainer = method_trainer(target, "sensitivity", rate=0.0, active=3)
    trainer.run(quadratic(model, curvature, optimum), 4)
    # Magnitude would keep the third.
    assert target.masks.masks["fc"].tolist() == [[1, 0, 0, 1]]
    returning = method_trainer(pruning_target(model, (0.5,), rounds=50), "sensitivity", rate=0.05)
    set_weight(model, torch.tensor([[1.0, 1.0, 0.2, 0.1]]))
    returning.run(quadratic(model, torch.ones(1, 4), torch.tensor([[0.0, 0.1, 5.0, 4.0]])), 101)
    assert returning.target.masks.masks["fc"].tolist() == [[0, 0, 1, 1]]
