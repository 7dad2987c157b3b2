"""From a float network to the integer network, without a gap between them."""

from jpnet_sw.quantisation.average import CapturedAverage, QuantisedAverage
from jpnet_sw.quantisation.capture import Captured, CapturedLayer, capture
from jpnet_sw.quantisation.export import to_integer_network
from jpnet_sw.quantisation.layer import QuantisedLayer
from jpnet_sw.quantisation.network import QuantisedNetwork, calibrate, quantise

__all__ = [
    "Captured",
    "CapturedAverage",
    "CapturedLayer",
    "QuantisedAverage",
    "QuantisedLayer",
    "QuantisedNetwork",
    "calibrate",
    "capture",
    "quantise",
    "to_integer_network",
]
