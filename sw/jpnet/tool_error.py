"""The error of a tool that was started, with what it printed."""

__all__ = ["ToolError"]


class ToolError(RuntimeError):
    """A tool that failed; the message's first line says which, the others what it printed."""
