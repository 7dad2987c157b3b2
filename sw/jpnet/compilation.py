"""A trained network to a schedule file."""

from dataclasses import replace
from pathlib import Path

from jpnet.images import load_calibration_images
from jpnet.provenance import provenance
from jpnet.workspace import Workspace, load_config
from jpnet.zoo import load_model
from jpnet_spec.schedule import save_schedule

__all__ = ["compile_model"]


def compile_model(workspace: Workspace, *, data_root: Path | None, calibrate: bool = True) -> Path:
    """Compile the workspace's model for its configuration and write the schedule.

    Parameters
    ----------
    workspace
        Names model and configuration.
    data_root
        Folder of the data sets, for the calibration.
    calibrate
        Whether training images tell how often each activation survives; without them all are
        taken to be equally frequent.

    Raises
    ------
    ValueError
        If the network does not fit, or a file is missing or damaged.
    """
    from jpnet_sw.compiler import compile_network

    network = load_model(workspace)
    config = load_config(workspace.config)
    images = load_calibration_images(network, data_root=data_root) if calibrate else None
    schedule = compile_network(network, config, images)
    data = network.metadata.get("dataset") if calibrate else None
    made = provenance(seed=network.metadata.get("seed"), data=data)
    save_schedule(replace(schedule, metadata={"provenance": made}), workspace.schedule_file)
    return workspace.schedule_file
