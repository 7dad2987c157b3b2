import pytest

from jpnet import cli
from jpnet.workspace import Workspace
from jpnet.zoo import load_model
from jpnet_sw.data import load_dataset
from jpnet_sw.metrics import measure
from jpnet_sw.storage import storage_bytes


def test_counts_of_a_network_are_those_of_its_test_images(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    arguments = ["count", "--model", "small", "--images", "50", "--build", str(workspace.build)]
    assert cli.run(arguments) == 0
    text = capsys.readouterr().out
    network = load_model(workspace)
    digits = load_dataset("digits")
    images = digits.test_activations()[:50].reshape(50, *network.input_shape)
    wanted = measure(network, images, digits.test_labels[:50]).summary()
    assert "on 50 test images" in text
    assert f"{wanted['macs_effective']:,.1f}" in text
    assert f"{wanted['macs_weight_only']:,}" in text
    for encoding, size in storage_bytes(network).items():
        assert f"{encoding} {size:,}" in text
