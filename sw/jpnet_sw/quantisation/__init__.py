"""From a float network to the integer network, without a gap between them."""

from jpnet_sw.quantisation.capture import CapturedLayer, capture
from jpnet_sw.quantisation.export import to_integer_network
from jpnet_sw.quantisation.network import QuantisedLayer, QuantisedNetwork, calibrate, quantise

__all__ = [
    "CapturedLayer",
    "QuantisedLayer",
    "QuantisedNetwork",
    "calibrate",
    "capture",
    "quantise",
    "to_integer_network",
]
