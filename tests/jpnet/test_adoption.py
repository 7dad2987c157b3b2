from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import jpnet
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.sparsity import TopNFilter


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(3)
    hidden = nn.Linear(64, 20)
    with torch.no_grad():
        hidden.weight[hidden.weight.abs() < 0.06] = 0
    top_n = TopNFilter(TopN(mode=ThresholdMode.EXACT, winners=5))
    modules = (nn.Flatten(), hidden, nn.ReLU(), top_n, nn.Linear(20, 10))
    return nn.Sequential(
        OrderedDict(zip(("flatten", "one", "relu", "top", "two"), modules, strict=True))
    )


def test_adopted_network_keeps_its_zeros_and_winners(model: nn.Sequential, tmp_path: Path) -> None:
    path = jpnet.adopt(model, tmp_path / "mine.safetensors", name="mine", dataset="digits")
    network = jpnet.load_network(path)
    assert [layer.name for layer in network.layers] == ["one", "two"]
    weight = model.get_submodule("one").weight
    assert isinstance(weight, torch.Tensor)
    assert not network.layers[0].weight[weight.detach().numpy() == 0].any()
    assert network.layers[0].top_n.winners == 5
    images = jpnet.load_dataset("digits").test_activations()
    survivors = network.run(images)["one"].survivors
    assert np.count_nonzero(survivors, axis=1).max() <= 5
    assert network.metadata["dataset"] == "digits"


def test_unknown_module_is_refused_and_nothing_is_written(
    model: nn.Sequential, tmp_path: Path
) -> None:
    model.add_module("soft", nn.Softmax(dim=1))
    with pytest.raises(
        ValueError, match=r"layer 'soft' must be one of Linear, Conv2d.*not 'Softmax'"
    ):
        jpnet.adopt(model, tmp_path / "mine.safetensors", name="mine", dataset="digits")
    assert not list(tmp_path.iterdir())
