"""``model.safetensors``: the integer network on disk."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.artefact import ArtefactError, read_artefact, write_artefact
from jpnet_spec.convolution import Convolution
from jpnet_spec.network import IntegerNetwork, Layer, LayerOp
from jpnet_spec.shortcut import Shortcut, ShortcutKind
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_spec.window import Window

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
            **_spatial_entry(layer),
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
                **_spatial_fields(entry),
                **_tensor_fields(entry, tensors),
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


def _tensor_fields(entry: dict[str, Any], tensors: Mapping[str, NDArray]) -> dict[str, Any]:
    return {name: tensors[f"{entry['name']}.{name}"] for name in _TENSORS}


def _spatial_entry(layer: Layer) -> dict[str, Any]:
    """Return what a fully connected layer's entry does not have."""
    if layer.convolution is None:
        return {}
    pool = None if layer.pool is None else asdict(layer.pool)
    entry = {"convolution": asdict(layer.convolution), "pool": pool}
    return entry if layer.shortcut is None else {**entry, "shortcut": asdict(layer.shortcut)}


def _spatial_fields(entry: dict[str, Any]) -> dict[str, Any]:
    if "convolution" not in entry:
        return {}
    made = entry["convolution"]
    convolution = Convolution(
        input_shape=tuple(made["input_shape"]),
        window=_window(made["window"]),
        channel_groups=made["channel_groups"],
    )
    return {
        "convolution": convolution,
        "pool": None if entry["pool"] is None else _window(entry["pool"]),
        "shortcut": _shortcut(entry["shortcut"]) if "shortcut" in entry else None,
    }


def _shortcut(made: dict[str, Any]) -> Shortcut:
    shape, kind = tuple(made["input_shape"]), ShortcutKind(made["kind"])
    return Shortcut(**{**made, "input_shape": shape, "kind": kind})


def _window(made: dict[str, Any]) -> Window:
    return Window(size=tuple(made["size"]), stride=made["stride"], padding=tuple(made["padding"]))
