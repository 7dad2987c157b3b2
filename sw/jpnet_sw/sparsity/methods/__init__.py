"""Pruning methods, each in a short file."""

from jpnet_sw.sparsity.methods.loading import find_method
from jpnet_sw.sparsity.methods.registry import (
    add_method,
    build_method,
    method_names,
    method_options,
    method_type,
)

__all__ = [
    "add_method",
    "build_method",
    "find_method",
    "method_names",
    "method_options",
    "method_type",
]
