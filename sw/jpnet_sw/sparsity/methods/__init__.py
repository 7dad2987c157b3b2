"""Pruning methods, each in a short file."""

from jpnet_sw.sparsity.methods.registry import (
    build_method,
    method_names,
    method_options,
    method_type,
)

__all__ = ["build_method", "method_names", "method_options", "method_type"]
