"""The pruning methods by name."""

from collections.abc import Mapping
from typing import Any

from jpnet_sw.sparsity.method import PruningMethod
from jpnet_sw.sparsity.methods.admm import Admm
from jpnet_sw.sparsity.methods.blocks import BlockMax, Darb
from jpnet_sw.sparsity.methods.bottleneck import Bottleneck
from jpnet_sw.sparsity.methods.greg import Greg1
from jpnet_sw.sparsity.methods.greg2 import Greg2
from jpnet_sw.sparsity.methods.hard_concrete import HardConcrete
from jpnet_sw.sparsity.methods.lanes import LaneBalanced
from jpnet_sw.sparsity.methods.magnitude import Magnitude
from jpnet_sw.sparsity.methods.progressive import Progressive
from jpnet_sw.sparsity.methods.sensitivity import Sensitivity
from jpnet_sw.sparsity.methods.surgery import Surgery
from jpnet_sw.sparsity.methods.variational_dropout import VariationalDropout
from jpnet_sw.sparsity.options import MethodOptions, from_text
from jpnet_sw.sparsity.target import PruningTarget

__all__ = ["build_method", "method_names", "method_options", "method_type"]

_METHODS: dict[str, type[PruningMethod]] = {
    "jpnet": Progressive,
    "magnitude": Magnitude,
    "sensitivity": Sensitivity,
    "dns": Surgery,
    "admm": Admm,
    "l0": HardConcrete,
    "vib": Bottleneck,
    "vd": VariationalDropout,
    "greg1": Greg1,
    "greg2": Greg2,
    "bmwm": BlockMax,
    "darb": Darb,
    "lanes": LaneBalanced,
}


def method_names() -> tuple[str, ...]:
    """Return the names that `method_type` knows."""
    return tuple(_METHODS)


def method_type(name: str) -> type[PruningMethod]:
    """Return a method's class.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, not {name!r}")
    return _METHODS[name]


def method_options(name: str, given: Mapping[str, Any]) -> MethodOptions:
    """Return a method's options from texts or values by name.

    Raises
    ------
    ValueError
        If the method or an option is unknown, or a value impossible.
    """
    return from_text(name, method_type(name).Options, given)


def build_method(name: str, given: Mapping[str, Any], target: PruningTarget) -> PruningMethod:
    """Return a method for a network.

    Raises
    ------
    ValueError
        As `method_options`, or if options do not fit the network.
    """
    return method_type(name)(target, method_options(name, given))
