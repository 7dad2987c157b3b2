"""From a float network to the integer network, without a gap between them."""

from jpnet_sw.quantisation.affine import CapturedAffine, QuantisedAffine
from jpnet_sw.quantisation.average import CapturedAverage, QuantisedAverage
from jpnet_sw.quantisation.capture import capture
from jpnet_sw.quantisation.captured import CapturedLayer
from jpnet_sw.quantisation.export import to_integer_network
from jpnet_sw.quantisation.fusion import Captured
from jpnet_sw.quantisation.graph import layer_shapes
from jpnet_sw.quantisation.layer import QuantisedLayer
from jpnet_sw.quantisation.network import QuantisedNetwork, calibrate, quantise

__all__ = [
    "Captured",
    "CapturedAffine",
    "CapturedAverage",
    "CapturedLayer",
    "QuantisedAffine",
    "QuantisedAverage",
    "QuantisedLayer",
    "QuantisedNetwork",
    "calibrate",
    "capture",
    "layer_shapes",
    "quantise",
    "to_integer_network",
]
