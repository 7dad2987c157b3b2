"""Models and build folders that the tests of the front door share."""

import os
from pathlib import Path

import numpy as np
import pytest

from jpnet.workspace import Workspace
from jpnet_cosim.samples import random_network
from jpnet_spec.model_file import save_network
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.topn import ThresholdMode

# The suite runs a process on every core. Set before any test loads torch, and for what tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def small_network() -> IntegerNetwork:
    modes = (ThresholdMode.EXACT, ThresholdMode.NONE)
    network = random_network(np.random.default_rng(7), dims=(64, 16, 10), modes=modes)
    return IntegerNetwork(
        name="small",
        input_shape=network.input_shape,
        layers=network.layers,
        metadata={"dataset": "digits", "seed": 7, "accuracy_dense": 0.5, "accuracy_jp": 0.25},
    )


@pytest.fixture(scope="session")
def small_model(small_network: IntegerNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    save_network(small_network, path)
    return path


@pytest.fixture
def workspace(tmp_path: Path, small_network: IntegerNetwork) -> Workspace:
    """A build folder in which a small network has been trained."""
    workspace = Workspace(build=tmp_path / "build", model="small", config="tiny")
    save_network(small_network, workspace.trained_file)
    return workspace
