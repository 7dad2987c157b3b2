"""Accuracy, densities and multiply-accumulates of trained networks, counted exactly."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jpnet_spec.network import IntegerNetwork, Layer

__all__ = ["LayerCounts", "NetworkCounts", "accuracy", "measure"]

_BATCH = 1000
_TRACE_BYTES = 2**28


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCounts:
    """Counts of one layer; means over the images where they depend on them.

    Parameters
    ----------
    name
        The layer.
    weight_density
        Share of non-zero weights.
    activation_density
        Share of surviving non-zero values among the layer's input activations.
    macs_dense
        Products with nothing skipped, those with padding included.
    macs_weight_only
        Products with only the zero weights skipped.
    macs_effective
        Pairs of non-zero weight and surviving input activation, counted one by one; taps outside
        the output are left out.
    macs_product
        ``macs_dense * weight_density * activation_density``, the estimate of the JPnet paper.
    """

    name: str
    weight_density: float
    activation_density: float
    macs_dense: int
    macs_weight_only: int
    macs_effective: float
    macs_product: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkCounts:
    """Counts of a network on a set of images.

    Parameters
    ----------
    images
        How many.
    accuracy_int8
        Share of right answers of the integer network.
    layers
        Those that multiply, in execution order.
    """

    images: int
    accuracy_int8: float
    layers: tuple[LayerCounts, ...]

    def _total(self, key: str) -> float:
        return float(sum(getattr(layer, key) for layer in self.layers))

    def summary(self) -> dict[str, Any]:
        """Return everything as plain values, with totals and percentages of the dense MACs."""
        dense = self._total("macs_dense")
        return {
            "images": self.images,
            "accuracy_int8": self.accuracy_int8,
            "weight_density": self._total("macs_weight_only") / dense,
            "macs_dense": int(dense),
            "macs_weight_only": int(self._total("macs_weight_only")),
            "macs_effective": self._total("macs_effective"),
            "macs_product": self._total("macs_product"),
            "mac_percent_effective": 100 * self._total("macs_effective") / dense,
            "mac_percent_product": 100 * self._total("macs_product") / dense,
            "layers": [asdict(layer) for layer in self.layers],
        }


def measure(
    network: IntegerNetwork, images: NDArray[np.int8], labels: NDArray[np.uint8]
) -> NetworkCounts:
    """Run the integer network on real images and count.

    Parameters
    ----------
    network
        Whose last layer gives the logits.
    images : int8, shape (images, *input_shape)
    labels : uint8, shape (images,)

    Raises
    ------
    ValueError
        If there are no images, or they do not fit the network.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(
            f"images must be as many as the {len(labels)} labels and at least 1, not {len(images)}"
        )
    pairs = {layer.name: 0 for layer in network.layers}
    survivors, read = dict(pairs), dict(pairs)
    right = 0
    # A trace holds every tensor twice.
    elements = 2 * sum(layer.elements for layer in network.layers)
    batch = max(1, min(_BATCH, _TRACE_BYTES // elements))
    for first in range(0, len(images), batch):
        traces = network.run(images[first : first + batch])
        for name, trace in traces.items():
            pairs[name] += int(trace.macs_effective.sum())
            dropped = trace.inputs_zero + trace.inputs_below
            survivors[name] += int((trace.inputs_read - dropped).sum())
            read[name] += int(trace.inputs_read.sum())
        logits = traces[network.layers[-1].name].tensor
        right += int((logits.argmax(axis=1) == labels[first : first + batch]).sum())
    layers = tuple(
        _layer_counts(
            layer,
            macs_effective=pairs[layer.name] / len(images),
            activation_density=survivors[layer.name] / read[layer.name],
        )
        for layer in network.layers
        if layer.multiplies
    )
    return NetworkCounts(images=len(images), accuracy_int8=right / len(images), layers=layers)


def _layer_counts(layer: Layer, *, macs_effective: float, activation_density: float) -> LayerCounts:
    weight_density = int(np.count_nonzero(layer.weight)) / layer.weight.size
    return LayerCounts(
        name=layer.name,
        weight_density=weight_density,
        activation_density=activation_density,
        macs_dense=layer.macs_dense,
        macs_weight_only=layer.macs_weight_only,
        macs_effective=macs_effective,
        macs_product=layer.macs_dense * weight_density * activation_density,
    )


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return a torch model's share of right answers, in evaluation mode.

    Parameters
    ----------
    images : float32, shape (images, channels, height, width)
    labels : int64 or uint8, shape (images,)
    """
    training = model.training
    model.eval()
    right = 0
    for first in range(0, len(images), _BATCH):
        # NumPy's and torch's argmax both return the first of equal logits on the CPU.
        answers = model(images[first : first + _BATCH]).argmax(dim=1)
        right += int((answers == labels[first : first + _BATCH]).sum())
    model.train(training)
    return right / len(images)
