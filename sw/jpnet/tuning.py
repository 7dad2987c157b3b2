"""A search of densities and winner rates for a configuration, beside simpler ones."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jpnet.compilation import compile_model
from jpnet.cycle_count import cycle_counter
from jpnet.estimation import estimate_model
from jpnet.images import load_test_images
from jpnet.json_file import write_json
from jpnet.provenance import provenance
from jpnet.training import run_name
from jpnet.workspace import Workspace, load_config
from jpnet_spec.model_file import save_network

if TYPE_CHECKING:
    from jpnet_sw.tuning import Search, TuneConfig, Tuned

__all__ = ["TUNE_KIND", "tune_model"]

TUNE_KIND = "tune"
"""Kind of the file with what was found."""

_IMAGES = 200


def tune_model(
    model: str,
    *,
    data: str,
    config: str,
    budget: "TuneConfig",
    baselines: Sequence[str] = (),
    seed: int,
    build: Path,
    results: Path | None = None,
    data_root: Path | None = None,
    warm_start: Path | None = None,
    resume: bool = False,
) -> Path:
    """Search for the network of fewest cycles, then its baselines, and return the results' file.

    Each network is written as the model ``<model>-<family>-<config>``, compiled and estimated.

    Parameters
    ----------
    model, data
        Names of an architecture and a data set that have a recipe.
    config
        A preset of the accelerator or a JSON file of parameters.
    budget
        Tolerance and training, the same for all.
    baselines
        Families of combinations to compare with, see `jpnet_sw.tuning.Family`.
    seed
        Decides everything random; all begin with the same dense network.
    build
        Folder of everything that is made.
    results
        Where the results are written, too.
    data_root
        Folder of the data sets; without it they are downloaded.
    warm_start
        A trained dense network to begin with, as a safetensors file.
    resume
        Go on where a search was stopped.

    Raises
    ------
    ValueError
        If a name is unknown, the network does not fit the accelerator, data or files are missing or
        damaged, or nothing is within the tolerance.
    """
    from jpnet_sw.tuning import Family, Search

    known = [family.value for family in Family if family is not Family.JOINT]
    for name in baselines:
        if name not in known:
            raise ValueError(f"baseline must be one of {', '.join(known)}, not {name!r}")
    accelerator = load_config(config).as_dict()
    families = (Family.JOINT, *(Family(name) for name in baselines))
    searches = [
        Search(
            model=model, data=data, accelerator=accelerator, family=family, config=budget, seed=seed
        )
        for family in families
    ]
    spaces = [_workspace(search, build, config) for search in searches]
    entries = [
        _tune_one(search, space, data_root=data_root, warm_start=warm_start, resume=resume)
        for search, space in zip(searches, spaces, strict=True)
    ]
    path = spaces[0].folder / "tune.json"
    content = {
        "model": model,
        "dataset": data,
        "config": spaces[0].config_name,
        "seed": seed,
        "budget": searches[0].settings()["config"],
        "searches": entries,
        "provenance": provenance(seed=seed, data=data),
    }
    for where in (path, *([results] if results is not None else [])):
        write_json(where, kind=TUNE_KIND, content=content)
    return path


def _workspace(search: "Search", build: Path, config: str) -> Workspace:
    """Return where a search's network lies."""
    name = Workspace(build=build, model="any", config=config).config_name
    model = run_name(search.model, search.data, f"{search.family.value}-{name}")
    return Workspace(build=build, model=model, config=config)


def _tune_one(
    search: "Search",
    workspace: Workspace,
    *,
    data_root: Path | None,
    warm_start: Path | None,
    resume: bool,
) -> dict[str, Any]:
    """Search one family, write and compile its network, and return what was found."""
    from jpnet_sw.tuning import tune

    dense = f"{run_name(search.model, search.data)}-dense-seed{search.seed}.safetensors"
    found = tune(
        search,
        cycle_counter(load_config(workspace.config)),
        folder=workspace.model_folder,
        dense=workspace.build / "dense" / dense,
        data_root=data_root,
        warm_start=warm_start,
        resume=resume,
    )
    if not found.within and search.family.value == "joint":
        raise ValueError(
            f"tolerance must leave a network: none of {len(found.rounds)} rounds was within "
            f"{search.config.tolerance_percent:g} points and fitted, the nearest has "
            f"{found.accuracy_percent:.2f} % of the dense network's {found.dense_percent:.2f} %; "
            "a larger tolerance or more rounds may find one"
        )
    made = provenance(seed=search.seed, data=search.data)
    network = replace(found.network, metadata={**found.network.metadata, "provenance": made})
    save_network(network, workspace.trained_file)
    compile_model(workspace, data_root=data_root)
    images = load_test_images(network, data_root=data_root, count=_IMAGES)
    estimate, _ = estimate_model(workspace, images)
    return _entry(search, found, estimate)


def _entry(search: "Search", found: "Tuned", estimate: dict[str, Any]) -> dict[str, Any]:
    facts = found.network.metadata
    return {
        "family": search.family.value,
        "chosen": found.chosen,
        "within": found.within,
        "held_out_percent": {"dense": found.dense_percent, "int8": found.accuracy_percent},
        "test_percent": {
            "dense": 100 * facts["accuracy_dense"],
            "float": 100 * facts["accuracy_jp"],
            "int8": 100 * facts["accuracy_int8"],
        },
        "cycles": estimate["cycles_total"],
        "cycles_bound": estimate["cycles_bound"],
        "fraction_of_bound": estimate["fraction_of_bound"],
        "macs_effective": facts["macs_effective"],
        "layers": [
            {
                "name": layer["name"],
                "weight_density": layer["weight_density"],
                "activation_density": layer["activation_density"],
                "macs_effective": layer["macs_effective"],
            }
            for layer in facts["layers"]
        ],
        "winner_rates": facts["winner_rates"],
        "rounds": [one.as_dict() for one in found.rounds],
    }
