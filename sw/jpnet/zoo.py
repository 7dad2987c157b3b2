"""Where a trained network is: named by the user, made by training, or one of the zoo."""

from pathlib import Path

from jpnet.workspace import DATA_OF, Workspace
from jpnet_spec.artefact import ArtefactError
from jpnet_spec.model_file import load_network
from jpnet_spec.network import IntegerNetwork
from jpnet_sw.zoo import zoo_names, zoo_path

__all__ = ["find_model", "load_model", "zoo_file"]


def zoo_file(name: str) -> Path | None:
    """Return the zoo's file of a model, None if the zoo has no such model."""
    for candidate in (name, f"{name}-{DATA_OF.get(name, '')}"):
        if candidate in zoo_names():
            return zoo_path(candidate)
    return None


def find_model(workspace: Workspace) -> Path:
    """Return the file of the workspace's model: its path, else a trained one, else the zoo's.

    Raises
    ------
    ArtefactError
        If there is none; the message names the command that makes it.
    """
    if workspace.model.endswith(".safetensors"):
        return Path(workspace.model)
    path = workspace.trained_file
    found = path if path.is_file() else zoo_file(workspace.model_name)
    if found is None:
        raise ArtefactError(
            f"{path}: missing, `jpnet train --model {workspace.model}` makes it; "
            f"trained networks that come with jpnet: {', '.join(zoo_names())}"
        )
    return found


def load_model(workspace: Workspace) -> IntegerNetwork:
    """Read the workspace's model.

    Raises
    ------
    ArtefactError
        If it is missing or damaged.
    """
    return load_network(find_model(workspace))
