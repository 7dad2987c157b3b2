"""A trained network on the generated Verilog under cocotb."""

import os
from pathlib import Path

import numpy as np
import pytest

from jpnet import cosimulation_check
from jpnet.compilation import load_compiled
from jpnet.emission import find_verilog
from jpnet.images import LabelledImages
from jpnet.workspace import Workspace
from jpnet.zoo import load_model
from jpnet_cosim.runner import SimulationError
from jpnet_spec.model_file import save_network
from jpnet_spec.schedule import save_schedule

__all__ = ["CosimulationJob", "cosimulate"]


class CosimulationJob:
    """Pytest plugin that tells the check what to run, and counts.

    Parameters
    ----------
    verilog_dir
        Folder with the Verilog.
    job_dir
        Folder with model, schedule and images; results and waveforms go there too.
    cache_dir
        Where simulator builds are kept.
    seed
        Of the random stalls.
    waves
        Whether to keep waveforms.
    """

    def __init__(
        self, verilog_dir: Path, job_dir: Path, cache_dir: Path, *, seed: int, waves: bool
    ) -> None:
        self.verilog_dir = verilog_dir
        self.job_dir = job_dir
        self.cache_dir = cache_dir
        self.seed = seed
        self.waves = waves
        self.passed = 0

    @pytest.fixture
    def cosimulation_job(self) -> "CosimulationJob":
        """Return the job."""
        return self


def cosimulate(workspace: Workspace, data: LabelledImages, *, seed: int, waves: bool) -> int:
    """Run the whole core's data benches on the workspace's model and return how many passed.

    Raises
    ------
    SimulationError
        If a bench fails.
    ArtefactError
        If schedule or Verilog are missing or damaged.
    """
    folder = (workspace.folder / "cosim").resolve()
    network = load_model(workspace)
    schedule = load_compiled(workspace, network)
    verilog = find_verilog(workspace).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    save_network(network, folder / "model.safetensors")
    save_schedule(schedule, folder / "schedule.safetensors")
    np.save(folder / "images.npy", data.images)
    job = CosimulationJob(verilog, folder, workspace.cache_folder.resolve(), seed=seed, waves=waves)
    arguments = ["-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider", "-q"]
    code = pytest.main([*arguments, str(Path(cosimulation_check.__file__))], plugins=[job])
    if code != pytest.ExitCode.OK or not job.passed:
        raise SimulationError(f"{workspace.model_name} on {workspace.config_name}: a bench failed")
    return job.passed
