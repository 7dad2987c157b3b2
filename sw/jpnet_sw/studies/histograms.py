"""Histograms of activations before and after pruning and filters."""

from collections.abc import Iterable, Sequence
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.model_file import load_network
from jpnet_spec.numbers import quantise_unit_image
from jpnet_sw.quantisation import capture
from jpnet_sw.recipe.images import float_images
from jpnet_sw.studies.pruned_run import PrunedRun, activation_layers
from jpnet_sw.studies.survivors import float_survivors, integer_survivors

__all__ = ["measure_histograms"]

_BINS = 80
_REACH = 0.999
"""Share of the dense network's non-zero values that the bins cover on either side."""


def measure_histograms(
    run: PrunedRun,
    *,
    layers: Sequence[str] = (),
    images: int = 500,
    data_root: Path | None = None,
) -> dict[str, Any]:
    """Count how often which activations occur in the dense, weight-pruned and joint network.

    IPnet, figure 3. Zeros are counted apart. What lies beyond the bins is in the outermost ones.

    Parameters
    ----------
    run
        Whose networks.
    layers
        Names of layers with a filter; none means the first, the middle and the last one.
    images
        The first ones of the training set.
    data_root
        Folder of the data sets.

    Returns
    -------
    dict
        For each layer the ``edges`` of its bins, in the float network's unit, and for each network
        counts per bin and zeros, in percent of all values.

    Raises
    ------
    ValueError
        If a layer has no filter, the model file has no scales, or data or files are missing or
        damaged.
    """
    dataset = run.dataset(data_root)
    state = run.state(dataset, device="cpu")
    filtered = [layer.name for layer in activation_layers(state.model)[:-1]]
    for name in layers:
        if name not in filtered:
            raise ValueError(f"layer must be one of {', '.join(filtered)}, not {name!r}")
    chosen = list(layers) or list(
        dict.fromkeys((filtered[0], filtered[len(filtered) // 2], filtered[-1]))
    )
    network = load_network(run.model_file)
    scales = network.metadata.get("activation_scales", {})
    if not set(chosen) <= set(scales):
        raise ValueError(f"{run.model_file}: has no activation scales, train the model anew")
    assert state.teacher is not None
    taken = run.first_images(dataset, images)
    batch, floats = quantise_unit_image(taken), float_images(taken, state.device)
    integers = integer_survivors(network, batch)
    scaled = ((name, codes * scales[name]) for name, codes in integers if name in chosen)
    values = {
        "dense": _gathered(float_survivors(capture(state.teacher), floats), chosen),
        "weight-pruned": _gathered(float_survivors(state.layers, floats), chosen),
        "joint": _gathered(scaled, chosen),
    }
    return {
        "images": len(batch),
        "layers": [
            _histogram(name, {kind: found[name] for kind, found in values.items()}, scales[name])
            for name in chosen
        ],
    }


def _gathered(tensors: Iterable[tuple[str, NDArray]], names: Sequence[str]) -> dict[str, NDArray]:
    """Return all values of some layers."""
    parts: dict[str, list[NDArray]] = {name: [] for name in names}
    for name, tensor in tensors:
        if name in parts:
            parts[name].append(tensor.ravel())
    return {name: np.concatenate(found) for name, found in parts.items()}


def _histogram(name: str, values: dict[str, NDArray], step: float) -> dict[str, Any]:
    """Return one layer's counts; each bin holds equally many of the integer network's codes."""
    reference = values["dense"][values["dense"] != 0]
    low, high = np.quantile(reference, [1 - _REACH, _REACH]) if len(reference) else (0.0, step)
    first, last = floor(min(0.0, low) / step), ceil(max(high, step) / step)
    codes = ceil((last - first + 1) / _BINS)
    edges = step * (np.arange(first, last + codes + 1, codes) - 0.5)
    counts = {}
    for kind, found in values.items():
        living = found[found != 0]
        inside = np.clip(living, edges[0], edges[-1])
        share = 100 * np.histogram(inside, bins=edges)[0] / len(found)
        counts[kind] = {
            "zero_percent": 100 * (1 - len(living) / len(found)),
            "percent": [round(float(value), 6) for value in share],
            "mean_magnitude": float(np.abs(living).mean()) if len(living) else 0.0,
        }
    return {"name": name, "edges": [float(edge) for edge in edges], "networks": counts}
