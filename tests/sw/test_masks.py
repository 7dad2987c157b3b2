import pytest
import torch
from torch import nn

from jpnet_sw.recipe import PruneConfig
from jpnet_sw.recipe.stages import round_densities
from jpnet_sw.sparsity import WeightMasks
from jpnet_sw.sparsity.masks import cubic_density


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(3)
    return {
        "a": nn.Parameter(torch.randn(20, 30, generator=generator)),
        "b": nn.Parameter(torch.ones(4, 5)),
    }


def test_smallest_magnitudes_are_pruned(weights):
    before = weights["a"].detach().clone()
    masks = WeightMasks(weights)
    masks.tighten({"a": 0.1})
    living = weights["a"] != 0
    assert living.sum() == 60
    assert before.abs()[living].min() >= before.abs()[~living].max()
    assert torch.equal(weights["a"][living], before[living])


def test_ties_keep_exactly_the_wanted_density(weights):
    masks = WeightMasks(weights)
    masks.tighten({"b": 0.5})
    assert masks.densities() == {"a": 1.0, "b": 0.5}


def test_pruned_weight_stays_pruned(weights):
    masks = WeightMasks(weights)
    masks.tighten({"a": 0.5})
    dead = weights["a"] == 0
    with torch.no_grad():
        weights["a"].add_(10)
    masks.apply()
    masks.tighten({"a": 0.4})
    assert torch.all(weights["a"][dead] == 0)


def test_one_weight_survives_the_lowest_density(weights):
    masks = WeightMasks(weights)
    masks.tighten({"a": 1e-9})
    assert (weights["a"] != 0).sum() == 1


def test_unknown_layer_and_density_are_refused(weights):
    masks = WeightMasks(weights)
    with pytest.raises(ValueError, match=r"densities must name layers of the model, not 'c'"):
        masks.tighten({"c": 0.5})
    with pytest.raises(ValueError, match=r"densities\['a'\] must be above 0, at most 1, not 0"):
        masks.tighten({"a": 0})


def test_regularisation_moves_and_shrinks_weights():
    weight = nn.Parameter(torch.tensor([[1.0, -1.0, 0.001]]))
    WeightMasks({"w": weight}).shrink(0.1, l1=0.1, l2=0.5)
    assert torch.allclose(weight, torch.tensor([[0.99 * 0.95, -0.99 * 0.95, 0.0]]))


def test_density_falls_from_one_to_the_final_density():
    path = [cubic_density(0.02, step / 50) for step in range(51)]
    assert path[0] == 1
    assert path[-1] == 0.02
    assert path == sorted(path, reverse=True)


@pytest.mark.parametrize("rounds", [1, 7, 1000])
@pytest.mark.parametrize("ramp", [0, 0.5, 1])
def test_rounds_end_at_the_final_densities_within_the_ramp(rounds, ramp):
    prune = PruneConfig(densities=(0.1, 0.3), epochs=1, rounds=rounds, ramp=ramp)
    steps = 100
    found = [round_densities(prune, ("a", "b"), step, steps) for step in range(steps)]
    started = [step for step, densities in enumerate(found) if densities is not None]
    assert found[started[-1]] == pytest.approx({"a": 0.1, "b": 0.3})
    assert started[0] == 0
    assert started[-1] <= max(0, ramp * steps)
