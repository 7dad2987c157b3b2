"""Compiler: integer network to schedule."""

from jpnet_sw.compiler.compile import compile_network
from jpnet_sw.compiler.errors import CompileError

__all__ = ["CompileError", "compile_network"]
