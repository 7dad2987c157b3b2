import pytest
import torch
from torch import nn

from jpnet_sw.sparsity import WeightMasks


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


def test_dead_weight_returns_only_where_it_is_hidden(weights):
    masks = WeightMasks(weights)
    masks.tighten({"a": 0.5})
    before = masks.masks["a"].clone()
    masks.set({"a": torch.ones(20, 30)})
    assert torch.equal(masks.masks["a"], before)
    masks.keep_shadows()
    masks.set({"a": torch.ones(20, 30)})
    assert masks.masks["a"].all()


def test_a_row_s_mask_is_that_of_its_weights(weights):
    masks = WeightMasks(weights)
    masks.set({"b": torch.tensor([True, False, True, True])})
    assert masks.masks["b"].sum(dim=1).tolist() == [5, 0, 5, 5]
