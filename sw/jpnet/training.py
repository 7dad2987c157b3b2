"""Training into the build folder, under a name that the other commands find again."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from jpnet.provenance import provenance
from jpnet.workspace import DATA_OF, Workspace
from jpnet_spec.model_file import load_network, save_network

__all__ = ["run_name", "train_model"]


def run_name(model: str, data: str, method: str | None = None) -> str:
    """Return the name of a model trained on a data set.

    The model's own name on the data set that goes without saying, else ``<model>-<data>``; a
    pruning method that was asked for is its ending.
    """
    name = model if DATA_OF.get(model) == data else f"{model}-{data}"
    return name if method is None else f"{name}-{method}"


def train_model(
    model: str,
    *,
    data: str,
    seed: int,
    build: Path,
    data_root: Path | None = None,
    resume: bool = False,
    teacher: Path | None = None,
    teacher_model: str = "resnet32-relu",
    warm_start: Path | None = None,
    method: str | None = None,
    options: Iterable[str] = (),
    activation: str | None = None,
    search: str | None = None,
    tolerance_percent: float | None = None,
    budget: float = 1.0,
) -> Path:
    """Train a model and return its file, which says how it was made.

    Parameters
    ----------
    model, data
        Names of an architecture and a data set that have a recipe.
    seed
        Decides everything random.
    build
        Folder of everything that is made.
    data_root
        Folder of the data sets; without it they are downloaded.
    resume
        Continue from the last checkpoint.
    teacher, teacher_model
        File and architecture of a trained float network that teaches this one.
    warm_start
        A trained dense network of the same architecture, as a safetensors file.
    method, activation, search, tolerance_percent, budget
        Other choices than the recipe's, see `jpnet_sw.recipe.choose`; a method of one's own is
        ``FILE.py:CLASS``.
    options
        Of the method, each ``NAME=VALUE``.

    Raises
    ------
    ValueError
        If a name is unknown, a value impossible, or data, checkpoint or dense network are missing
        or damaged.
    """
    from jpnet_sw.recipe import TeacherFile, choose, parse_options, preset, train
    from jpnet_sw.sparsity.methods import find_method

    if method is not None:
        method = find_method(method)
    recipe = choose(
        preset(model, data),
        method=method,
        options=parse_options(options),
        activation=activation,
        search=search,
        tolerance_percent=tolerance_percent,
        budget=budget,
    )
    name = run_name(model, data, method)
    workspace = Workspace(build=build, model=name, config="any")
    path = train(
        model=model,
        data=data,
        seed=seed,
        out=workspace.model_folder,
        data_root=data_root,
        resume=resume,
        teacher=None if teacher is None else TeacherFile(path=teacher, model=teacher_model),
        warm_start=warm_start,
        recipe=recipe,
    )
    network = load_network(path)
    if "provenance" not in network.metadata:
        made = provenance(seed=seed, data=data)
        facts = {**network.metadata, "provenance": made}
        save_network(replace(network, metadata=facts), path)
    return path
