"""``model.safetensors``: the integer network on disk."""

from pathlib import Path

import numpy as np

from jpnet_spec.artefact import ArtefactError, read_artefact, write_artefact
from jpnet_spec.network import IntegerNetwork, Layer, LayerOp
from jpnet_spec.topn import ThresholdMode, TopN

__all__ = ["load_network", "save_network"]

_TENSORS = ("weight", "bias", "multiplier", "negative_multiplier")


def save_network(network: IntegerNetwork, path: Path) -> str:
    """Write a network and return its content hash."""
    layers = [
        {
            "name": layer.name,
            "op": layer.op.value,
            "inputs": list(layer.inputs),
            "shift": layer.shift,
            "top_n": {
                "mode": layer.top_n.mode.name,
                "winners": layer.top_n.winners,
                "static_threshold": layer.top_n.static_threshold,
                "sample_stride": layer.top_n.sample_stride,
            },
        }
        for layer in network.layers
    ]
    header = {
        "name": network.name,
        "input_shape": list(network.input_shape),
        "layers": layers,
        "metadata": dict(network.metadata),
    }
    tensors = {
        f"{layer.name}.{attribute}": np.asarray(getattr(layer, attribute))
        for layer in network.layers
        for attribute in _TENSORS
    }
    return write_artefact(path, kind="model", header=header, tensors=tensors)


def load_network(path: Path) -> IntegerNetwork:
    """Read a network.

    Raises
    ------
    ArtefactError
        If the file is damaged, or holds an operation or shape that this version does not know.
    """
    header, tensors = read_artefact(path, kind="model")
    try:
        layers = tuple(
            Layer(
                name=entry["name"],
                op=LayerOp(entry["op"]),
                inputs=tuple(entry["inputs"]),
                shift=entry["shift"],
                top_n=TopN(**{**entry["top_n"], "mode": ThresholdMode[entry["top_n"]["mode"]]}),
                **{name: tensors[f"{entry['name']}.{name}"] for name in _TENSORS},
            )
            for entry in header["layers"]
        )
        return IntegerNetwork(
            name=header["name"],
            input_shape=tuple(header["input_shape"]),
            layers=layers,
            metadata=header["metadata"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path}: malformed model, {error}") from error
