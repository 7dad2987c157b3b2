"""Winner rates by a sensitivity scan on held-out training images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jpnet_spec.topn import ThresholdMode, TopN, winners_for_rate
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["ScanPoint", "choose_winner_rates"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanPoint:
    """One measurement of the scan.

    Parameters
    ----------
    layer
        The filtered layer, or group of layers; all others pass everything.
    rate
        Its winner rate.
    accuracy_percent
        On the held-out images.
    """

    layer: str
    rate: float
    accuracy_percent: float


def choose_winner_rates(
    filters: Mapping[str, TopNFilter],
    elements: Mapping[str, int],
    rates: Sequence[float],
    tolerance_percent: float,
    accuracy: Callable[[], float],
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> tuple[dict[str, float], list[ScanPoint]]:
    """Choose each layer's lowest winner rate whose accuracy drop stays within a tolerance.

    One layer or group of layers at a time, before any fine-tuning with filters (IPnet, section
    3.2). The filters are left switched off.

    Parameters
    ----------
    filters
        Layer name to its filter.
    elements
        Layer name to the elements of its output tensor.
    rates
        Candidates, each above 0 and at most 1.
    tolerance_percent
        Largest drop, in percentage points, against the network without filters.
    accuracy
        Measures the network as it stands, in percent; on held-out training images.
    groups
        Names of the layers that share a rate, by the group's name; None gives each its own.

    Returns
    -------
    rates : layer name to winner rate
        1 where no candidate is within the tolerance.
    scan
        Every measurement.
    """
    for module in filters.values():
        module.top_n = TopN()
    floor = accuracy() - tolerance_percent
    chosen: dict[str, float] = {}
    scan = []
    for group, layers in (groups or {layer: (layer,) for layer in filters}).items():
        chosen |= dict.fromkeys(layers, 1.0)
        for rate in sorted(rates, reverse=True):
            for layer in layers:
                winners = winners_for_rate(rate, elements[layer])
                filters[layer].top_n = TopN(mode=ThresholdMode.EXACT, winners=winners)
            point = ScanPoint(layer=group, rate=rate, accuracy_percent=accuracy())
            scan.append(point)
            # Every lower rate is worse, but for noise that a choice must not rest on.
            if point.accuracy_percent < floor:
                break
            chosen |= dict.fromkeys(layers, rate)
        for layer in layers:
            filters[layer].top_n = TopN()
    return chosen, scan
