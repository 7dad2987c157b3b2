"""Jobs, emitted Verilog and the cache of builds that the simulations share."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.samples import DIMS, MODES, SMALL, random_images, random_network
from jpnet_hw.verilog import emit
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler import compile_network


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(41)


@pytest.fixture
def make_job(rng: np.random.Generator) -> Callable[..., Job]:
    def make(
        config: AcceleratorConfig = SMALL,
        *,
        images: int = 5,
        dims: Sequence[int] = DIMS,
        modes: Sequence[ThresholdMode] = MODES,
        dense: bool = False,
    ) -> Job:
        network = random_network(rng, dims=dims, modes=modes)
        return Job(
            network=network,
            schedule=compile_network(network, config, dense=dense),
            images=random_images(rng, images, dims[0]),
        )

    return make


@pytest.fixture
def job(make_job: Callable[..., Job]) -> Job:
    return make_job()


@pytest.fixture(scope="session")
def cache_dir(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if pytestconfig.cache is None:
        return tmp_path_factory.mktemp("verilator")
    return pytestconfig.cache.mkdir("verilator")


@pytest.fixture(scope="session")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[AcceleratorConfig], Path]:
    folders: dict[AcceleratorConfig, Path] = {}

    def folder(config: AcceleratorConfig) -> Path:
        if config not in folders:
            folders[config] = tmp_path_factory.mktemp("verilog")
            emit(config, folders[config])
        return folders[config]

    return folder


@pytest.fixture(scope="session")
def verilog_dir(emitted: Callable[[AcceleratorConfig], Path]) -> Path:
    return emitted(SMALL)
