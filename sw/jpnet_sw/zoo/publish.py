"""Put a trained network into the zoo, with the results of all its seeds.

``python -m jpnet_sw.zoo.publish NAME FOLDER...`` takes the output folders of several seeds of one
recipe; the first one's network is published.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from jpnet_spec.artefact import atomic_path
from jpnet_spec.model_file import load_network
from jpnet_spec.network import IntegerNetwork
from jpnet_sw.recipe.history import HISTORY_FILE

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
        Output folders of `jpnet_sw.recipe.train`, of different seeds.
    zoo
        The folder of all networks.

    Returns
    -------
    Path
        The network's folder.

    Raises
    ------
    ValueError
        If there is no run, seeds repeat, or a run is of another recipe.
    """
    networks = [load_network(run / "model.safetensors") for run in runs]
    seeds = [network.metadata["seed"] for network in networks]
    recipes = {network.metadata["recipe"] for network in networks}
    if len(set(seeds)) != len(seeds) or len(recipes) != 1:
        raise ValueError(
            f"runs must be different seeds of one recipe, not seeds {seeds} of {sorted(recipes)}"
        )
    results = _results(networks, [_cpu_minutes(run / HISTORY_FILE) for run in runs])
    folder = zoo / name
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "model.safetensors") as temporary:
        shutil.copyfile(runs[0] / "model.safetensors", temporary)
    with atomic_path(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    with atomic_path(folder / "card.md") as temporary:
        temporary.write_text(_card(name, networks[0], results), encoding="utf-8")
    return folder


def _cpu_minutes(path: Path) -> float | None:
    """Return the processor time of a training, None where no history tells it."""
    if not path.is_file():
        return None
    epochs = json.loads(path.read_text(encoding="utf-8"))["epochs"]
    if not all("cpu_seconds" in epoch for epoch in epochs):
        return None
    return round(sum(float(epoch["cpu_seconds"]) for epoch in epochs) / 60, 1)


def _results(
    networks: Sequence[IntegerNetwork], cpu_minutes: Sequence[float | None]
) -> dict[str, Any]:
    facts = networks[0].metadata
    rows = [
        {
            "seed": network.metadata["seed"],
            "content_hash": network.content_hash,
            "winner_rates": network.metadata["winner_rates"],
            **{key: network.metadata[key] for key in _FIGURES},
            **({} if minutes is None else {"cpu_minutes": minutes}),
        }
        for network, minutes in zip(networks, cpu_minutes, strict=True)
    ]
    return {
        "format_version": _FORMAT_VERSION,
        "command": f"jpnet train --model {facts['model']} --data {facts['dataset']} --seed SEED",
        "recipe": facts["recipe"],
        "images": facts["images"],
        "mean": {key: mean(row[key] for row in rows) for key in _FIGURES},
        **(
            {"std": {key: stdev(row[key] for row in rows) for key in _FIGURES}}
            if len(rows) > 1
            else {}
        ),
        "seeds": rows,
    }


def _card(name: str, network: IntegerNetwork, results: dict[str, Any]) -> str:
    facts, average, spread = network.metadata, results["mean"], results.get("std")
    accuracy = f"{100 * average['accuracy_int8']:.2f}"
    macs = f"{average['mac_percent_effective']:.3f}"
    if spread is not None:
        accuracy += f" ± {100 * spread['accuracy_int8']:.2f}"
        macs += f" ± {spread['mac_percent_effective']:.3f}"
    seeds = f"{len(results['seeds'])} seeds" if spread is not None else "one seed"
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

{_architecture(network)}, ReLU, trained on {facts["dataset"]} as a JPnet: static weight masks,
dynamic top-N activation masks, int8. `model.safetensors` is the network of seed {facts["seed"]}.

- Made by: `{results["command"]}` (recipe `{facts["recipe"]}`), one run per seed.{_teacher(facts)}
- Integer network on the {facts["images"]:,} test images, {seeds}:
  accuracy {accuracy} %, effective MACs {macs} %
  of the dense network's {facts["macs_dense"]:,}.
- Every choice (masks, winner rates, epochs) was made on training images; the test images only
  give the figures here.
- Effective MACs are pairs of a non-zero weight and a surviving non-zero activation, counted one
  by one; zero pixels count as zeros.{_padding(network)}
{_training_time(results["seeds"])}
| seed | dense % | sparse float % | int8 % | MACs per image | MAC % |
| --- | --- | --- | --- | --- | --- |
{rows}

Layers of `model.safetensors`:

| layer | dense MACs | weights % | inputs % | MACs per image |
| --- | --- | --- | --- | --- |
{layers}
"""


def _architecture(network: IntegerNetwork) -> str:
    if all(layer.convolution is None for layer in network.layers):
        sizes = (network.layers[0].input_elements, *(layer.elements for layer in network.layers))
        return f"{'-'.join(map(str, sizes))}, fully connected"
    parts = ["x".join(map(str, network.input_shape))]
    for layer in network.layers:
        outputs = len(layer.weight)
        if layer.convolution is None:
            parts.append(str(outputs))
            continue
        size = "x".join(map(str, layer.convolution.window.size))
        maps = "x".join(map(str, layer.sums_shape[1:]))
        parts.append(f"{outputs} kernels of {size} ({maps})")
        if layer.pool is not None:
            pool = "x".join(map(str, layer.pool.size))
            parts[-1] += f", max pooling {pool} stride {layer.pool.stride}"
    return " - ".join(parts)


def _padding(network: IntegerNetwork) -> str:
    if all(layer.convolution is None for layer in network.layers):
        return ""
    return " Products with\n  padding are counted for the dense network only."


def _teacher(facts: Mapping[str, Any]) -> str:
    if "teacher" not in facts:
        return ""
    teacher = facts["teacher"]
    return (
        f"\n  A trained `{teacher['model']}` taught all stages (`--teacher`; "
        f"SHA-256 of its file {teacher['sha256'][:16]}...)."
    )


def _training_time(rows: Sequence[Mapping[str, Any]]) -> str:
    minutes = [row["cpu_minutes"] for row in rows if "cpu_minutes" in row]
    if len(minutes) != len(rows):
        return ""
    return f"- Training took {mean(minutes):.0f} minutes of one processor core a seed.\n"


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
