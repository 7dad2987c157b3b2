from collections import OrderedDict

import pytest
import torch
from torch import nn

from jpnet_sw.models import build_model, convnet5, lenet4, mlp3
from jpnet_sw.sparsity import WeightMasks
from jpnet_sw.sparsity.channels import (
    ChannelLink,
    channel_links,
    fit_to,
    mask_dead_channels,
    remove_channels,
)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x):
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + x)


class ModuleBlock(Block):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv2(self.relu(self.conv1(x))) + x)


def weights(model):
    kinds = (nn.Linear, nn.Conv2d)
    return {name: m.weight for name, m in model.named_modules() if isinstance(m, kinds)}


def test_links_of_a_chain_name_norms_and_the_next_layer():
    links = channel_links(convnet5((3, 12, 12)))
    assert links == {
        "conv1": ChannelLink(norms=("norm1",), consumers=("conv2",)),
        "conv2": ChannelLink(norms=("norm2",), consumers=("fc1",)),
        "fc1": ChannelLink(norms=(), consumers=("fc2",)),
        "fc2": ChannelLink(norms=(), consumers=("fc3",)),
    }
    assert set(channel_links(mlp3((1, 8, 8)))) == {"fc1", "fc2"}


def test_a_sum_keeps_its_channels():
    links = channel_links(nn.Sequential(OrderedDict(a=ModuleBlock(), b=ModuleBlock())))
    assert set(links) == {"a.conv1", "b.conv1"}
    assert links["a.conv1"].consumers == ("a.conv2",)


def test_what_is_no_known_module_keeps_its_channels():
    assert channel_links(nn.Sequential(OrderedDict(a=Block()))) == {}
    grouped = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 1))
    assert channel_links(grouped) == {}


def masked(model, links, dead):
    """Mask channels and what belongs to them."""
    masks = WeightMasks(weights(model))
    modules = dict(model.named_modules())
    for name, link in links.items():
        owners = [modules[owner] for owner in (name, *link.norms)]
        vectors = [v for m in owners for v in m.parameters(recurse=False) if v.ndim == 1]
        masks.tie_rows(name, vectors)
    wanted = {name: mask.clone() for name, mask in masks.masks.items()}
    for name, rows in dead.items():
        wanted[name][rows] = 0
    masks.set(mask_dead_channels(links, wanted))
    return masks


@pytest.mark.parametrize(
    ("build", "shape", "dead"),
    [
        (convnet5, (3, 12, 12), {"conv1": [0, 5, 63], "conv2": [1, 2], "fc1": [0, 7, 380]}),
        (lenet4, (1, 28, 28), {"conv1": [3], "conv2": [0, 49], "fc1": list(range(400))}),
        (mlp3, (1, 8, 8), {"fc1": [0, 1, 299], "fc2": [50]}),
    ],
)
def test_small_network_computes_what_the_masked_one_does(build, shape, dead):
    torch.manual_seed(0)
    model = build(shape)
    images = torch.rand(20, *shape)
    for _ in range(3):
        model(images)  # gives batch normalisation something to keep
    model.eval()
    links = channel_links(model)
    masks = masked(model, links, dead)
    before = model(images)
    sizes = {name: len(weight) for name, weight in weights(model).items()}
    smaller = remove_channels(model, links, masks.masks)
    assert torch.allclose(model(images), before, atol=1e-5)
    for name, weight in weights(model).items():
        assert len(weight) == sizes[name] - len(dead.get(name, ()))
        assert smaller[name].shape == weight.shape
    assert smaller["fc1"].all()


def test_a_layer_keeps_a_channel():
    torch.manual_seed(1)
    model = mlp3((1, 4, 4)).eval()
    links = channel_links(model)
    masks = masked(model, links, {"fc1": list(range(300))})
    before = model(torch.rand(3, 1, 4, 4))
    remove_channels(model, links, masks.masks)
    assert model.fc1.weight.shape == (1, 16)
    assert torch.allclose(model(torch.rand(3, 1, 4, 4)), before)


def test_channels_that_nobody_reads_die():
    model = lenet4((1, 28, 28))
    masks = {name: torch.ones_like(weight) for name, weight in weights(model).items()}
    masks["fc2"][:, 17] = 0
    masks["fc1"][:, 16 * 3 : 16 * 4] = 0  # all positions of channel 3
    closed = mask_dead_channels(channel_links(model), masks)
    assert not closed["fc1"][17].any()
    assert not closed["conv2"][3].any()
    assert closed["conv2"][4].all()


def test_a_fresh_model_takes_the_shapes_of_a_saved_one():
    torch.manual_seed(2)
    model = build_model("convnet5", (3, 12, 12)).eval()
    links = channel_links(model)
    masks = masked(model, links, {"conv1": [1, 2], "conv2": [3], "fc2": [4]})
    remove_channels(model, links, masks.masks)
    saved = model.state_dict()
    fresh = build_model("convnet5", (3, 12, 12)).eval()
    fit_to(fresh, saved)
    fresh.load_state_dict(saved)
    images = torch.rand(4, 3, 12, 12)
    assert torch.equal(fresh(images), model(images))
    assert fresh.conv2.in_channels == 62
    assert fresh.fc1.in_features == 63 * 9
