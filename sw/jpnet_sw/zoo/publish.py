"""Put a trained network into the zoo, with the results of all its seeds.

``python -m jpnet_sw.zoo.publish NAME FOLDER...`` takes the output folders of several seeds of one
recipe; the first one's network is published.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from jpnet_spec.artefact import atomic_path
from jpnet_spec.model_file import load_network
from jpnet_spec.network import IntegerNetwork

__all__ = ["main", "publish"]

_FORMAT_VERSION = 1
_FIGURES = (
    "accuracy_dense",
    "accuracy_jp",
    "accuracy_int8",
    "macs_effective",
    "mac_percent_effective",
    "mac_percent_product",
    "weight_density",
)


def publish(name: str, runs: Sequence[Path], *, zoo: Path) -> Path:
    """Copy the first run's network and write ``results.json`` and ``card.md`` about all runs.

    Parameters
    ----------
    name
        Folder in the zoo.
    runs
        Output folders of `jpnet_sw.recipe.train`, at least two seeds.
    zoo
        The folder of all networks.

    Returns
    -------
    Path
        The network's folder.

    Raises
    ------
    ValueError
        If there are fewer than two runs, seeds repeat, or a run is of another recipe.
    """
    networks = [load_network(run / "model.safetensors") for run in runs]
    seeds = [network.metadata["seed"] for network in networks]
    recipes = {network.metadata["recipe"] for network in networks}
    if len(set(seeds)) < 2 or len(set(seeds)) != len(seeds) or len(recipes) != 1:
        raise ValueError(
            f"runs must be several seeds of one recipe, not seeds {seeds} of {sorted(recipes)}"
        )
    results = _results(networks)
    folder = zoo / name
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "model.safetensors") as temporary:
        shutil.copyfile(runs[0] / "model.safetensors", temporary)
    with atomic_path(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    with atomic_path(folder / "card.md") as temporary:
        temporary.write_text(_card(name, networks[0], results), encoding="utf-8")
    return folder


def _results(networks: Sequence[IntegerNetwork]) -> dict[str, Any]:
    facts = networks[0].metadata
    rows = [
        {
            "seed": network.metadata["seed"],
            "content_hash": network.content_hash,
            "winner_rates": network.metadata["winner_rates"],
            **{key: network.metadata[key] for key in _FIGURES},
        }
        for network in networks
    ]
    return {
        "format_version": _FORMAT_VERSION,
        "command": f"jpnet train --model {facts['model']} --data {facts['dataset']} --seed SEED",
        "recipe": facts["recipe"],
        "images": facts["images"],
        "mean": {key: mean(row[key] for row in rows) for key in _FIGURES},
        "std": {key: stdev(row[key] for row in rows) for key in _FIGURES},
        "seeds": rows,
    }


def _card(name: str, network: IntegerNetwork, results: dict[str, Any]) -> str:
    facts, average, spread = network.metadata, results["mean"], results["std"]
    shape = "-".join(
        str(size) for size in (network.layers[0].weight.shape[1], *map(_outputs, network.layers))
    )
    layers = "\n".join(
        f"| {layer['name']} | {layer['macs_dense']:,} | {100 * layer['weight_density']:.2f} | "
        f"{100 * layer['activation_density']:.2f} | {layer['macs_effective']:,.1f} |"
        for layer in facts["layers"]
    )
    rows = "\n".join(
        f"| {row['seed']} | {100 * row['accuracy_dense']:.2f} | {100 * row['accuracy_jp']:.2f} | "
        f"{100 * row['accuracy_int8']:.2f} | {row['macs_effective']:,.1f} | "
        f"{row['mac_percent_effective']:.3f} |"
        for row in results["seeds"]
    )
    return f"""# {name}

{shape}, fully connected, ReLU, trained on {facts["dataset"]} as a JPnet: static weight masks,
dynamic top-N activation masks, int8. `model.safetensors` is the network of seed {facts["seed"]}.

- Made by: `{results["command"]}` (recipe `{facts["recipe"]}`), one run per seed.
- Integer network on the {facts["images"]:,} test images, {len(results["seeds"])} seeds:
  accuracy {100 * average["accuracy_int8"]:.2f} ± {100 * spread["accuracy_int8"]:.2f} %,
  effective MACs {average["mac_percent_effective"]:.3f} ± {spread["mac_percent_effective"]:.3f} %
  of the dense network's {facts["macs_dense"]:,}.
- Every choice (masks, winner rates, epochs) was made on training images; the test images only
  give the figures here.
- Effective MACs are pairs of a non-zero weight and a surviving non-zero activation, counted one
  by one; zero pixels count as zeros.

| seed | dense % | sparse float % | int8 % | MACs per image | MAC % |
| --- | --- | --- | --- | --- | --- |
{rows}

Layers of `model.safetensors`:

| layer | dense MACs | weights % | inputs % | MACs per image |
| --- | --- | --- | --- | --- |
{layers}
"""


def _outputs(layer: Any) -> int:
    return int(layer.weight.shape[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish from the command line; exit code 2 and one line if the runs do not fit."""
    parser = argparse.ArgumentParser(prog="python -m jpnet_sw.zoo.publish")
    parser.add_argument("name")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--zoo", type=Path, default=Path(__file__).parent)
    chosen = parser.parse_args(arguments)
    try:
        print(publish(chosen.name, chosen.runs, zoo=chosen.zoo))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
