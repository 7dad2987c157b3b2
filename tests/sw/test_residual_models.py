"""Residual networks and the checkpoints that they load."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.shortcut import ShortcutKind
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.models import build_model, load_checkpoint, read_checkpoint, resnet
from jpnet_sw.models.residual import BlockKind, ResidualBlock, Shortcut

SHAPE = (3, 8, 8)
NORMALISATION = "mean .5 .4 .3 std .25 .2 .1"


def randomise(network: nn.Module) -> nn.Module:
    """Give batch normalisation statistics and parameters that are not the identity."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(-1, 1)
                module.bias.normal_(0, 0.3)
    return network.eval()


def saved(path: Path, network: nn.Module, **metadata: str) -> Path:
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("tracked")}
    save_file(state, path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("name", "weights", "channels"),
    [
        ("resnet20", 20, 64),
        ("resnet32", 32, 64),
        ("resnet56", 56, 64),
        ("resnet32-relu", 32, 64),
        ("resnet32-wide", 32, 640),
    ],
)
def test_networks_have_the_layers_and_channels_of_their_names(
    name: str, weights: int, channels: int
) -> None:
    network = build_model(name, (3, 32, 32))
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == weights
    assert network.get_submodule("linear").in_features == channels
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_wide_network_has_the_weights_of_the_paper() -> None:
    network = build_model("resnet32-wide", (3, 32, 32))
    found = {"conv1": 0, "layer1": 0, "layer2": 0, "layer3": 0}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            found[name.split(".")[0]] += module.weight.numel()
    # IPnet, table 5: 0.43K, 2.1M, 8.76M, 35.02M.
    assert found == {"conv1": 432, "layer1": 2_096_640, "layer2": 8_755_200, "layer3": 35_020_800}


def pre_activation_by_hand(network: nn.Module, images: Tensor) -> Tensor:
    """Compute the network of tensorflow's resnet example, normalisation first in each unit."""

    def active(tensor: Tensor, norm: str) -> Tensor:
        return functional.leaky_relu(network.get_submodule(norm)(tensor), 0.1)

    x = network.get_submodule("conv1")(images)
    norm = "bn1"
    for stage in (1, 2, 3):
        for index in range(3):
            block = f"layer{stage}.{index}"
            original = x
            x = active(x, norm)
            if stage == 1 and index == 0:
                original = x
            x = network.get_submodule(f"{block}.conv1")(x)
            x = network.get_submodule(f"{block}.conv2")(active(x, f"{block}.bn1"))
            missing = x.shape[1] - original.shape[1]
            if stage > 1 and index == 0:
                original = functional.avg_pool2d(original, 2, 2)
            zeros = torch.zeros(len(x), missing // 2, *x.shape[2:])
            x = x + torch.cat([zeros, original, zeros], dim=1)
            norm = f"{block}.bn_sum"
    return network.get_submodule("linear")(active(x, norm).mean(dim=(2, 3)))


def test_pre_activation_network_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    network = randomise(resnet(SHAPE, layers=20, width=2))
    images = torch.rand(4, *SHAPE)
    with torch.no_grad():
        wanted = pre_activation_by_hand(network, images)
        torch.testing.assert_close(network(images), wanted, rtol=1e-4, atol=1e-4)


def test_filter_drops_products_but_not_the_shortcut() -> None:
    torch.manual_seed(0)
    for kind in BlockKind:
        block = ResidualBlock(2, 2, stride=1, kind=kind, slope=0.1).eval()
        block.top_n2.top_n = TopN(mode=ThresholdMode.EXACT, winners=3)
        with torch.no_grad():
            carried, active = block(torch.rand(1, 2, 4, 4), torch.rand(1, 2, 4, 4))
        assert int((active != 0).sum()) == 3
        assert int((carried != 0).sum()) == 32


def test_shortcut_subsamples_and_pads_channels_half_before_half_after() -> None:
    maps = torch.arange(2 * 5 * 5, dtype=torch.float32).reshape(1, 2, 5, 5)
    made = Shortcut(2, 5, stride=2)(maps)
    assert made.shape == (1, 5, 3, 3)
    assert torch.equal(made[:, 1:3], maps[:, :, ::2, ::2])
    assert not made[:, [0, 3, 4]].any()


def test_shortcut_averages() -> None:
    maps = torch.arange(16, dtype=torch.float32).reshape(1, 1, 4, 4)
    made = Shortcut(1, 1, stride=2, kind=ShortcutKind.AVERAGE)(maps)
    assert made.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


@pytest.mark.parametrize("layers", [2, 21, 0, -4])
def test_impossible_number_of_layers_is_refused(layers: int) -> None:
    with pytest.raises(ValueError, match=f"stages of n blocks, not {layers}"):
        resnet(SHAPE, layers=layers)


def test_width_and_shortcuts_are_checked() -> None:
    with pytest.raises(ValueError, match="width must be at least 1, not 0"):
        resnet(SHAPE, layers=20, width=0)
    with pytest.raises(ValueError, match="outputs must be at least 4 inputs, not 2"):
        Shortcut(4, 2)
    with pytest.raises(ValueError, match="stride must be at least 1, not 0"):
        Shortcut(4, 4, stride=0)


def test_loaded_network_normalises_its_images(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = randomise(build_model("resnet20-relu", SHAPE))
    path = saved(tmp_path / "c.safetensors", network, normalisation=NORMALISATION)
    images = torch.rand(3, *SHAPE)
    mean = torch.tensor([0.5, 0.4, 0.3])[:, None, None]
    deviation = torch.tensor([0.25, 0.2, 0.1])[:, None, None]
    loaded = load_checkpoint(path, "resnet20-relu", SHAPE)
    assert not loaded.training
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network((images - mean) / deviation))


def test_folded_normalisation_changes_edges_only(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = randomise(build_model("resnet20", SHAPE))
    path = saved(tmp_path / "c.safetensors", network, normalisation=NORMALISATION)
    checkpoint = read_checkpoint(path, channels=3)
    folded = build_model("resnet20", SHAPE).eval()
    checkpoint.fold_into(folded)
    images = torch.rand(3, *SHAPE)
    normalised = load_checkpoint(path, "resnet20", SHAPE).get_submodule("normalise")(images)

    def begin(model: nn.Module, taken: Tensor) -> Tensor:
        return model.get_submodule("bn1")(model.get_submodule("conv1")(taken))

    with torch.no_grad():
        wanted, found = begin(network, normalised), begin(folded, images)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], wanted[..., 1:-1, 1:-1])
    assert not torch.allclose(found, wanted)


def test_without_an_entry_nothing_is_normalised(tmp_path: Path) -> None:
    network = build_model("resnet20", SHAPE)
    checkpoint = read_checkpoint(saved(tmp_path / "c.safetensors", network), channels=3)
    assert (checkpoint.mean, checkpoint.deviation) == ((0.0,) * 3, (1.0,) * 3)
    assert checkpoint.tensors.keys() <= network.state_dict().keys()


def test_missing_and_truncated_files_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.safetensors", build_model("resnet20", SHAPE))
    with pytest.raises(ArtefactError, match=r"none\.safetensors: cannot be read"):
        read_checkpoint(tmp_path / "none.safetensors", channels=3)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtefactError, match="truncated or not a safetensors file"):
        read_checkpoint(path, channels=3)


def test_other_networks_tensors_are_refused_by_name(tmp_path: Path) -> None:
    state = build_model("resnet20", SHAPE).state_dict()
    path = tmp_path / "c.safetensors"

    def refused(changed: dict[str, Tensor], message: str) -> None:
        save_file(changed, path)
        with pytest.raises(ArtefactError, match=message):
            load_checkpoint(path, "resnet20", SHAPE)

    lacking = {name: v for name, v in state.items() if name != "layer2.0.conv1.weight"}
    refused(lacking, "'layer2.0.conv1.weight' must be there, but is missing")
    refused({**state, "other": torch.zeros(1)}, "'other' is of no module")
    wide = {**state, "linear.weight": torch.zeros(10, 5)}
    refused(wide, r"'linear.weight' must have shape \(10, 64\), not \(10, 5\)")
    whole = {**state, "linear.bias": torch.zeros(10, dtype=torch.int32)}
    refused(whole, "'linear.bias' must be of a float type, not torch.int32")


@pytest.mark.parametrize("text", ["mean 1 2 3", "mean .5 .5 std 1 1", "mean 0 0 0 std 1 0 1"])
def test_unclear_normalisation_is_refused(tmp_path: Path, text: str) -> None:
    network = build_model("resnet20", SHAPE)
    path = saved(tmp_path / "c.safetensors", network, normalisation=text)
    with pytest.raises(ArtefactError, match="normalisation must be 'mean' and 'std'"):
        read_checkpoint(path, channels=3)


def test_folding_needs_a_convolution_and_its_normalisation_first(tmp_path: Path) -> None:
    network = build_model("mlp3", (1, 8, 8))
    checkpoint = read_checkpoint(saved(tmp_path / "c.safetensors", network), channels=1)
    with pytest.raises(ArtefactError, match="must begin with Conv2d and BatchNorm2d"):
        checkpoint.fold_into(network)
