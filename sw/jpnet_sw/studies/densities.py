"""Activation densities of the dense, the weight-pruned and the joint network."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.model_file import load_network
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.numbers import quantise_unit_image
from jpnet_sw.quantisation import capture
from jpnet_sw.recipe.images import float_images
from jpnet_sw.studies.pruned_run import PrunedRun, activation_layers
from jpnet_sw.studies.survivors import float_survivors, integer_survivors

__all__ = ["measure_densities", "output_densities", "total_density"]


def output_densities(tensors: Iterable[tuple[str, NDArray]]) -> dict[str, tuple[float, int]]:
    """Return each layer's share of non-zero values and its elements per image.

    Parameters
    ----------
    tensors
        Names and batches of outputs, shape (images, ...).
    """
    living: dict[str, int] = {}
    counted: dict[str, int] = {}
    elements: dict[str, int] = {}
    for name, tensor in tensors:
        living[name] = living.get(name, 0) + int(np.count_nonzero(tensor))
        counted[name] = counted.get(name, 0) + tensor.size
        elements[name] = tensor[0].size
    return {name: (living[name] / counted[name], elements[name]) for name in living}


def total_density(densities: Mapping[str, tuple[float, int]]) -> float:
    """Return the share of non-zero values of all layers' outputs together."""
    shares, elements = zip(*densities.values(), strict=True)
    return float(np.average(shares, weights=elements))


def measure_densities(
    run: PrunedRun, *, images: int = 1000, data_root: Path | None = None
) -> dict[str, Any]:
    """Compare the outputs of activation functions in the three networks.

    IPnet, figure 2 and section 4.1: shares of non-zero values, before pooling, the logits
    included, on training images. The dense and the weight-pruned network have no filters and are
    in float, the joint one is the integer network.

    Parameters
    ----------
    run
        Whose networks.
    images
        The first ones of the training set.
    data_root
        Folder of the data sets.

    Returns
    -------
    dict
        ``activation_percent`` of all layers together and ``mac_percent`` of each network, and the
        densities of each layer.

    Raises
    ------
    ValueError
        If data or files are missing or damaged.
    """
    dataset = run.dataset(data_root)
    state = run.state(dataset, device="cpu")
    network = load_network(run.model_file)
    assert state.teacher is not None
    taken = run.first_images(dataset, images)
    batch, floats = quantise_unit_image(taken), float_images(taken, state.device)
    names = {layer.name for layer in activation_layers(state.model)}
    found = {
        "dense": output_densities(float_survivors(capture(state.teacher), floats)),
        "weight-pruned": output_densities(float_survivors(state.layers, floats)),
        "joint": output_densities(integer_survivors(network, batch)),
    }
    kept = {
        kind: {name: value for name, value in layers.items() if name in names}
        for kind, layers in found.items()
    }
    return {
        "images": len(batch),
        "activation_percent": {kind: 100 * total_density(value) for kind, value in kept.items()},
        "mac_percent": _mac_percent(network),
        "layers": [
            {
                "name": name,
                "elements": elements,
                **{kind: 100 * layers[name][0] for kind, layers in kept.items()},
            }
            for name, (_, elements) in kept["joint"].items()
        ],
    }


def _mac_percent(network: IntegerNetwork) -> dict[str, float]:
    """Return effective MACs of the three networks, in percent of the dense network's products."""
    facts = network.metadata
    dense = sum(layer["macs_dense"] for layer in facts["layers_dense"])
    macs = {
        "dense": sum(layer["macs_effective"] for layer in facts["layers_dense"]),
        "weight-pruned": sum(layer["macs_effective"] for layer in facts["layers_weight_pruned"]),
        "joint": facts["macs_effective"],
    }
    return {kind: 100 * value / dense for kind, value in macs.items()}
