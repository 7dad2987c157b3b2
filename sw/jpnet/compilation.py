"""A trained network to a schedule file."""

from dataclasses import replace
from pathlib import Path

from jpnet.images import load_calibration_images
from jpnet.provenance import provenance
from jpnet.workspace import Workspace, load_config
from jpnet.zoo import load_model
from jpnet_spec.artefact import ArtefactError
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.schedule import Schedule, load_schedule, save_schedule

__all__ = ["compile_model", "load_compiled"]


def compile_model(
    workspace: Workspace,
    *,
    data_root: Path | None,
    calibrate: bool = True,
    encoding: str = "explicit",
) -> Path:
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
    encoding
        How the program holds weight lists: a value of `jpnet_sw.compiler.ListEncoding`.

    Raises
    ------
    ValueError
        If the network does not fit, or a file is missing or damaged.
    """
    from jpnet_sw.compiler import ListEncoding, compile_network

    known = [item.value for item in ListEncoding]
    if encoding not in known:
        raise ValueError(f"encoding must be one of {', '.join(known)}, not {encoding!r}")
    network = load_model(workspace)
    config = load_config(workspace.config)
    images = load_calibration_images(network, data_root=data_root) if calibrate else None
    schedule = compile_network(network, config, images, encoding=ListEncoding(encoding))
    data = network.metadata.get("dataset") if calibrate else None
    made = provenance(seed=network.metadata.get("seed"), data=data)
    save_schedule(replace(schedule, metadata={"provenance": made}), workspace.schedule_file)
    return workspace.schedule_file


def load_compiled(workspace: Workspace, network: IntegerNetwork) -> Schedule:
    """Read the workspace's schedule.

    Parameters
    ----------
    workspace
        Names model and configuration.
    network
        What the schedule must have been compiled from.

    Raises
    ------
    ValueError
        If it is missing, damaged, or compiled from another model or for another configuration.
    """
    path = workspace.schedule_file
    remedy = f"`jpnet compile --model {workspace.model_name} --config {workspace.config}` makes it"
    if not path.exists():
        raise ArtefactError(f"{path}: missing, {remedy}")
    schedule = load_schedule(path)
    try:
        schedule.check_config(load_config(workspace.config))
    except ValueError as error:
        raise ArtefactError(f"{path}: {error}; {remedy} anew") from error
    if schedule.network_hash != network.content_hash:
        raise ArtefactError(
            f"{path}: compiled from another model than {workspace.model_name}, {remedy} anew"
        )
    return schedule
