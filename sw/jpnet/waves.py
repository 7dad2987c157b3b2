"""Waveforms of one image, and a view of them for GTKWave."""

from pathlib import Path

from jpnet.compilation import load_compiled
from jpnet.emission import find_verilog
from jpnet.images import load_test_images
from jpnet.workspace import Workspace
from jpnet.zoo import load_model
from jpnet_cosim.runner import run_native
from jpnet_cosim.waves import write_view
from jpnet_spec.artefact import atomic_path

__all__ = ["record_waves"]


def record_waves(workspace: Workspace, *, image: int, data_root: Path | None) -> list[Path]:
    """Run one test image and return the waveform file and its view file.

    Raises
    ------
    ValueError
        If there is no such image, or schedule or Verilog are missing or damaged.
    """
    network = load_model(workspace)
    schedule = load_compiled(workspace, network)
    verilog = find_verilog(workspace)
    data = load_test_images(network, data_root=data_root)
    if image >= len(data.images):
        raise ValueError(f"--image must be below {len(data.images)}, not {image!r}")
    with atomic_path(workspace.waves_file) as temporary:
        run_native(
            verilog,
            schedule=schedule,
            images=data.images[image : image + 1],
            cache_dir=workspace.cache_folder,
            waves=temporary,
            optimise=False,  # a build for waveforms takes longer than an image
        )
    return [workspace.waves_file, write_view(workspace.waves_file, schedule.config)]
