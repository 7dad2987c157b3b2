"""`jpnet estimate` on residual networks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jpnet import cli
from jpnet.workspace import Workspace
from jpnet_cosim.residual_samples import ResidualShape, residual_network
from jpnet_spec.model_file import save_network
from jpnet_spec.topn import ThresholdMode


@pytest.mark.parametrize("pre_activation", [False, True])
def test_a_residual_network_is_predicted(tmp_path: Path, pre_activation: bool) -> None:
    shape = ResidualShape(
        size=8,
        channels=1,
        stages=(2,),
        blocks=1,
        pre_activation=pre_activation,
        weight_density=0.4,
    )
    network = residual_network(np.random.default_rng(5), shape, modes=(ThresholdMode.EXACT,))
    workspace = Workspace(build=tmp_path / "build", model="residual", config="edge16")
    save_network(replace(network, metadata={"dataset": "digits"}), workspace.trained_file)
    options = ["--model", "residual", "--config", "edge16", "--build", str(workspace.build)]
    assert cli.run(["compile", *options]) == 0
    assert cli.run(["estimate", *options, "--images", "2"]) == 0
    found = json.loads(workspace.estimate_file.read_text())
    assert [layer["name"] for layer in found["layers"]] == [item.name for item in network.layers]
    assert 0 < found["cycles_total"] < found["cycles_latency"]
    assert 0 < found["fraction_of_bound"] < 1
