"""Compiler: integer network to schedule."""

from jpnet_sw.compiler.compile import CompileError, compile_network

__all__ = ["CompileError", "compile_network"]
