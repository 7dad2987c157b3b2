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

__all__ = ["add_method", "build_method", "method_names", "method_options", "method_type"]

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


_HERE = frozenset(_METHODS)


def add_method(name: str, kind: type[PruningMethod]) -> None:
    """Let a method of one's own be chosen by a name, as those that are here.

    Parameters
    ----------
    name
        Lower-case letters, digits and underscores; also the ending of the models' names.
    kind
        Takes the place of a method that was added by this name before.

    Raises
    ------
    ValueError
        If the name is of another form or that of a method that is here, or the class no method
        with a summary and a source.
    """
    if not (name.isidentifier() and name.islower() and name.isascii()):
        raise ValueError(f"method's name must be lower-case letters and digits, not {name!r}")
    if name in _HERE:
        raise ValueError(f"method's name must not be that of jpnet's own method, {name!r}")
    is_method = isinstance(kind, type) and issubclass(kind, PruningMethod)
    if not (is_method and hasattr(kind, "SUMMARY") and hasattr(kind, "SOURCE")):
        raise ValueError(
            f"method {name!r} must be a PruningMethod with SUMMARY and SOURCE, not {kind!r}"
        )
    _METHODS[name] = kind


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
