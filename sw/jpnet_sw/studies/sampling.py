"""Accuracy with thresholds that a part of the tensor tells."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from jpnet_spec.network import IntegerNetwork
from jpnet_spec.topn import SAMPLE_STRIDE_MAX, ThresholdMode
from jpnet_sw.metrics import measure

__all__ = ["EVERY_LAYER", "measure_sampling"]

EVERY_LAYER = "every layer"
"""Name under which all layers together stand."""
_STRIDES = (2, 4, 10, 20, 50, 100)


def measure_sampling(
    network: IntegerNetwork,
    images: NDArray[np.int8],
    labels: NDArray[np.uint8],
    *,
    strides: Sequence[int] = (),
    quiet: bool = False,
) -> dict[str, Any]:
    """Find thresholds from every k-th element of a tensor, without training again.

    IPnet, section 3.3 and figure 6. The subset is that of `jpnet_spec.topn.TopN`; a stride of 1 is
    the exact threshold. Each filtered layer is sampled alone, then all of them.

    Parameters
    ----------
    network
        With exact or sampled filters.
    images : int8, shape (images, *input_shape)
    labels : uint8, shape (images,)
    strides
        1 to `jpnet_spec.topn.SAMPLE_STRIDE_MAX`; none means those from 50 % to 1 %.
    quiet
        Show no progress.

    Returns
    -------
    dict
        ``points`` of a layer's name, the stride, the share of elements that are sampled, accuracy
        and effective MACs, all in percent.

    Raises
    ------
    ValueError
        If no layer counts winners, or a stride is out of range.
    """
    wanted = sorted(set(strides or _STRIDES))
    for stride in wanted:
        if not 1 <= stride <= SAMPLE_STRIDE_MAX:
            raise ValueError(
                f"sample stride must be between 1 and {SAMPLE_STRIDE_MAX}, not {stride!r}"
            )
    counting = (ThresholdMode.EXACT, ThresholdMode.SAMPLED)
    names = [layer.name for layer in network.layers if layer.top_n.mode in counting]
    if not names:
        raise ValueError(f"{network.name}: no layer's filter counts winners, nothing to sample")
    groups = {name: (name,) for name in names} | {EVERY_LAYER: tuple(names)}
    exact = _sampled(network, names, 1)
    found = measure(exact, images, labels).summary()
    points = []
    tasks = [(group, stride) for group in groups for stride in wanted if stride > 1]
    for group, stride in track(
        tasks, "sampling", console=Console(stderr=True), disable=quiet, transient=True
    ):
        one = measure(_sampled(exact, groups[group], stride), images, labels).summary()
        points.append(
            {
                "layer": group,
                "stride": stride,
                "sampled_percent": 100 / stride,
                "accuracy_percent": 100 * one["accuracy_int8"],
                "mac_percent": one["mac_percent_effective"],
            }
        )
    return {
        "images": len(images),
        "exact": {
            "accuracy_percent": 100 * found["accuracy_int8"],
            "mac_percent": found["mac_percent_effective"],
        },
        "points": points,
    }


def _sampled(network: IntegerNetwork, names: Sequence[str], stride: int) -> IntegerNetwork:
    """Return the network with some layers' thresholds from every stride-th element."""
    mode = ThresholdMode.EXACT if stride == 1 else ThresholdMode.SAMPLED
    layers = tuple(
        replace(layer, top_n=replace(layer.top_n, mode=mode, sample_stride=stride))
        if layer.name in names
        else layer
        for layer in network.layers
    )
    return replace(network, layers=layers)
