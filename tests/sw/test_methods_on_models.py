from copy import deepcopy

import pytest
import torch

from jpnet_sw.models import lenet4, resnet
from jpnet_sw.recipe.pruning import without_channels
from jpnet_sw.sparsity.methods import method_names

MODELS = {
    "chain": lambda: lenet4((1, 16, 16)),
    "residual": lambda: resnet((1, 8, 8), layers=8),
}
SIDES = {"chain": 16, "residual": 8}


def train(trainer, side, steps):
    for step in steps:
        torch.manual_seed(step)
        trainer.step(lambda: trainer.target.model(torch.rand(4, 1, side, side)).square().mean())


@pytest.fixture
def begin(pruning_target, method_trainer):
    """A function that begins with a method on a model."""

    def make(name, model):
        torch.manual_seed(0)
        network = MODELS[model]()
        layers = sum(parameter.ndim > 1 for parameter in network.parameters())
        target = pruning_target(network, (0.3,) * layers, rounds=3)
        return method_trainer(target, name, rate=0.01, momentum=0.9, active=4, epoch=2)

    return make


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", method_names())
def test_method_takes_a_model_as_it_is_and_resumes_in_its_midst(begin, name, model):
    whole, side = begin(name, model), SIDES[model]
    train(whole, side, range(2))
    target = whole.target
    saved = deepcopy(
        {
            "model": target.model.state_dict(),
            "masks": target.masks.masks,
            "shadows": target.masks.shadows,
            "method": whole.method.state_dict(),
            "optimiser": whole.optimiser.state_dict(),
        }
    )
    train(whole, side, range(2, 6))
    assert whole.pruner.finished
    resumed = begin(name, model)
    resumed.target.model.load_state_dict(saved["model"])
    resumed.target.masks.load(saved["masks"], saved["shadows"])
    resumed.pruner.load(saved["method"])
    resumed.optimiser.load_state_dict(saved["optimiser"])
    resumed.at = 2
    train(resumed, side, range(2, 6))
    for found, wanted in (
        (resumed.target.model.state_dict(), target.model.state_dict()),
        (resumed.target.masks.masks, target.masks.masks),
    ):
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    images = torch.rand(2, 1, side, side)
    masked = target.model.eval()(images)
    without_channels(whole.pruner, target.model, target.masks)
    assert torch.allclose(target.model(images), masked, atol=1e-4)
