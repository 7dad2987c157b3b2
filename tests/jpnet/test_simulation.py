import pytest

from jpnet.simulation import worth_optimising
from jpnet_spec.configs import PRESETS
from jpnet_spec.model_file import load_network
from jpnet_sw.zoo import zoo_path


@pytest.mark.parametrize(
    ("name", "images", "expected"),
    [
        ("mlp3-digits", 360, False),
        ("mlp3-mnist", 10, False),
        ("mlp3-mnist", 10_000, True),
        ("lenet4-mnist", 1, False),
        ("lenet4-mnist", 100, True),
    ],
)
def test_only_long_runs_have_an_optimised_simulator(name, images, expected):
    network = load_network(zoo_path(name))
    assert worth_optimising(network, PRESETS["edge16"], images) is expected
