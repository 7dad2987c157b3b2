"""Jobs, emitted Verilog and the cache of builds that the simulations share."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.garbled_memory import GARBLED, elaborate_garbled
from jpnet_cosim.residual_samples import STREAMED_RESIDUAL
from jpnet_cosim.samples import DIMS, MODES, random_images, random_network
from jpnet_cosim.verilator_build import build_lock
from jpnet_hw.memory import SyncMemory
from jpnet_hw.verilog import emit
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler import compile_network

RESIDENT = STREAMED_RESIDUAL
"""Holds the lists of `DIMS`, and needs no build of its own."""


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(41)


@pytest.fixture
def make_job(rng: np.random.Generator) -> Callable[..., Job]:
    def make(
        config: AcceleratorConfig = RESIDENT,
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
def emitted(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Callable[[AcceleratorConfig], Path]:
    """Return the folder with the Verilog of a configuration, emitted once for all processes.

    That of `GARBLED` has memories that tell whoever relies on a row while it is written.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "verilog"

    def folder(config: AcceleratorConfig) -> Path:
        out = shared / f"{config.config_hash:08x}"
        with build_lock(out):
            if not out.is_dir():
                staged = out.with_suffix(".part")
                with pytest.MonkeyPatch.context() as patch:
                    if config == GARBLED:
                        patch.setattr(SyncMemory, "elaborate", elaborate_garbled)
                    emit(config, staged)
                staged.rename(out)
        return out

    return folder


@pytest.fixture(scope="session")
def verilog_dir(emitted: Callable[[AcceleratorConfig], Path]) -> Path:
    return emitted(RESIDENT)
