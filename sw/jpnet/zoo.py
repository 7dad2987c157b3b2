"""The trained networks that come with the package."""

from importlib.resources import files
from pathlib import Path

from jpnet.workspace import Workspace
from jpnet_spec.artefact import ArtefactError
from jpnet_spec.model_file import load_network
from jpnet_spec.network import IntegerNetwork

__all__ = ["find_model", "load_model", "zoo_folder", "zoo_names"]


def zoo_folder() -> Path:
    """Return the folder with one folder a network: ``model.safetensors`` and ``card.md``."""
    return Path(str(files("jpnet"))) / "zoo"


def zoo_names() -> list[str]:
    """Return the networks of the zoo."""
    return sorted(path.parent.name for path in zoo_folder().glob("*/model.safetensors"))


def find_model(workspace: Workspace) -> Path:
    """Return the file of the workspace's model: its path, else a trained one, else the zoo's.

    Raises
    ------
    ArtefactError
        If there is none; the message names the command that makes it.
    """
    if workspace.model.endswith(".safetensors"):
        return Path(workspace.model)
    for path in (workspace.trained_file, zoo_folder() / workspace.model / "model.safetensors"):
        if path.is_file():
            return path
    raise ArtefactError(
        f"{workspace.trained_file}: missing, `jpnet train --model {workspace.model}` makes it; "
        f"trained networks that come with jpnet: {', '.join(zoo_names()) or 'none'}"
    )


def load_model(workspace: Workspace) -> IntegerNetwork:
    """Read the workspace's model.

    Raises
    ------
    ArtefactError
        If it is missing or damaged.
    """
    return load_network(find_model(workspace))
