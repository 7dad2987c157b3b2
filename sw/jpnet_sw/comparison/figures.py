"""What a trained network contributes to the table, all of it relative to the unpruned network."""

from typing import Any

import numpy as np

from jpnet_spec.network import IntegerNetwork
from jpnet_sw.models import build_model
from jpnet_sw.quantisation import CapturedLayer, capture
from jpnet_sw.storage import storage_bytes

__all__ = ["row_figures"]

_ACCURACIES = ("accuracy_dense", "accuracy_weight_pruned", "accuracy_jp", "accuracy_int8")


def row_figures(network: IntegerNetwork) -> dict[str, Any]:
    """Return accuracies, densities, MACs and bytes of a network that `jpnet train` made.

    Channels that a method has removed count as zeros: `weight_density`, and every percentage of
    MACs, refers to the network before pruning.

    Parameters
    ----------
    network
        With the recipe's facts as its metadata.
    """
    facts = network.metadata
    dense = facts["layers_dense"]
    macs_dense = sum(layer["macs_dense"] for layer in dense)
    original = build_model(str(facts["model"]), network.input_shape)
    weights = sum(
        layer.linear.weight.numel()
        for layer in capture(original)
        if isinstance(layer, CapturedLayer)
    )
    living = sum(int(np.count_nonzero(layer.weight)) for layer in network.layers)
    pruned = facts["layers_weight_pruned"]
    macs = {
        "dense": macs_dense,
        # Skipping the zeros of the unpruned network, which needs no pruning at all.
        "dense_effective": sum(layer["macs_effective"] for layer in dense),
        "weight_only": facts["macs_weight_only"],
        "weight_pruned_effective": sum(layer["macs_effective"] for layer in pruned),
        "effective": facts["macs_effective"],
        "product": facts["macs_product"],
    }
    return {
        **{key: facts[key] for key in _ACCURACIES},
        "weights": weights,
        "weights_living": living,
        "weight_density": living / weights,
        "macs": macs,
        "mac_percent": {
            key: 100 * value / macs_dense for key, value in macs.items() if key != "dense"
        },
        "storage_bytes": storage_bytes(network),
        "winner_rates": facts["winner_rates"],
        "layers": [
            {
                "name": layer["name"],
                "channels": len(shaped.weight),
                "weight_density": layer["weight_density"],
                "activation_density": layer["activation_density"],
                "activation_density_dense": before["activation"],
                "activation_density_weight_pruned": after["activation"],
                "macs_effective": layer["macs_effective"],
            }
            for layer, shaped, before, after in zip(
                facts["layers"], network.layers, dense, pruned, strict=True
            )
        ],
    }
