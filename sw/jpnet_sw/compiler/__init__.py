"""Compiler: integer network to schedule."""

from jpnet_sw.compiler.compile import compile_network
from jpnet_sw.compiler.errors import CompileError
from jpnet_sw.compiler.packing import ListEncoding

__all__ = ["CompileError", "ListEncoding", "compile_network"]
