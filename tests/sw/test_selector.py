import pytest
import torch

from jpnet_sw.sparsity.selector import (
    Scope,
    Selector,
    hysteresis,
    kept_count,
    largest,
    select,
    with_best,
)


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(5)
    return {
        "a": torch.rand(8, 25, generator=generator),
        "b": 10 * torch.rand(4, 10, generator=generator),
    }


def test_exact_count_holds_with_ties_and_keeps_the_first():
    mask = largest(torch.tensor([1.0, 2.0, 1.0, 1.0, 0.0]), 3)
    assert mask.tolist() == [1, 1, 1, 0, 0]


def test_a_quantile_keeps_all_ties():
    score = torch.tensor([[0.0, 0.0, 0.0, 5.0]])
    kept = select({"x": score}, {"x": 0.5}, selector=Selector.QUANTILE)["x"]
    assert kept.sum() == 4
    kept = select({"x": score}, {"x": 0.5}, selector=Selector.COUNT)["x"]
    assert kept.sum() == 2


@pytest.mark.parametrize("selector", [Selector.COUNT, Selector.QUANTILE])
def test_each_layer_keeps_its_own_density(scores, selector):
    kept = select(scores, {"a": 0.1, "b": 0.5}, selector=selector)
    for name, density in (("a", 0.1), ("b", 0.5)):
        assert kept[name].sum() == kept_count(density, scores[name].numel())
        assert scores[name][kept[name] == 1].min() > scores[name][kept[name] == 0].max()


def test_global_scope_keeps_the_largest_of_all(scores):
    kept = select(scores, {"a": 0.2, "b": 0.2}, scope=Scope.GLOBAL)
    assert kept["a"].sum() + kept["b"].sum() == 48
    living = torch.cat([scores[name][kept[name] == 1] for name in scores])
    dead = torch.cat([scores[name][kept[name] == 0] for name in scores])
    assert living.min() > dead.max()
    assert kept["b"].mean() > kept["a"].mean()


@pytest.mark.parametrize("scope", Scope)
def test_threshold_and_spread_ignore_the_density(scores, scope):
    kept = select(scores, {"a": 1, "b": 1}, selector=Selector.THRESHOLD, scope=scope, value=0.7)
    assert all(torch.equal(kept[name] == 1, scores[name] >= 0.7) for name in scores)
    kept = select(scores, {"a": 1, "b": 1}, selector=Selector.SPREAD, value=1.5)
    root = scores["a"].square().mean().sqrt()
    assert torch.equal(kept["a"] == 1, scores["a"] >= 1.5 * root)


def test_every_row_keeps_its_best_within_the_exact_count():
    score = torch.tensor([[9.0, 8.0, 7.0], [0.1, 0.3, 0.2]])
    kept = select({"x": score}, {"x": 0.5}, keep_rows=True)["x"]
    assert kept.tolist() == [[1, 1, 0], [0, 1, 0]]


@pytest.mark.parametrize("scope", Scope)
def test_rows_that_keep_their_best_do_not_move_the_border_of_a_spread(scores, scope):
    free, kept = (
        select(
            scores, {"a": 1, "b": 1}, selector=Selector.SPREAD, scope=scope, value=1.5, keep_rows=on
        )
        for on in (False, True)
    )
    for name, score in scores.items():
        best = torch.zeros_like(score).scatter(1, score.argmax(dim=1, keepdim=True), 1.0)
        assert torch.equal(kept[name], torch.maximum(free[name], best))


def test_a_layer_without_any_keeps_its_best():
    score = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    assert with_best(torch.zeros(2, 2), score).tolist() == [[0, 1], [0, 0]]
    assert with_best(torch.tensor([[1.0, 1], [0, 0]]), score).tolist() == [[1, 1], [0, 0]]


def test_between_the_borders_nothing_changes():
    score = torch.tensor([0.5, 0.95, 1.2, 0.5, 0.95, 1.2])
    mask = torch.tensor([1.0, 1, 1, 0, 0, 0])
    assert hysteresis(mask, score, 0.9, 1.1).tolist() == [0, 1, 1, 0, 0, 1]
