"""Codes of the accelerator's sticky error register."""

from enum import IntEnum

__all__ = ["ErrorCode"]


class ErrorCode(IntEnum):
    """What went wrong first; the code stays until software clears it."""

    NONE = 0
    """Nothing."""
    UNMAPPED_REGISTER = 1
    """A register access outside the map, or a write to a read-only register."""
    START_WHILE_BUSY = 2
    """A load or run was requested while one was going on; that one continues."""
    NOT_LOADED = 3
    """A run was requested without a valid program."""
    BAD_ARGUMENT = 4
    """An image count of 0, or an address that is not a multiple of the beat size."""
    BAD_MAGIC = 5
    """The header does not begin a program image."""
    BAD_VERSION = 6
    """The program image has another format version."""
    BAD_CONFIG = 7
    """The program image was compiled for another configuration."""
    BAD_SECTION = 8
    """A section names no memory or lanes, is empty, or does not fit its memory or its slot."""
    BAD_CRC = 9
    """A checksum of the program image or of a block of its stream does not match."""
    BAD_OPCODE = 10
    """An instruction with an unknown operation."""
    BAD_FIELD = 11
    """An instruction field out of range."""
    AXI_READ = 12
    """The memory answered a read with an error."""
    AXI_WRITE = 13
    """The memory answered a write with an error."""
    WATCHDOG = 14
    """No progress for as many cycles as the watchdog register says."""
