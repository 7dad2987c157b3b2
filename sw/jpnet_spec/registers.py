"""The register map: one description for hardware, drivers, C header and documentation."""

from dataclasses import dataclass
from enum import StrEnum

from jpnet_spec.counters import Counter

__all__ = ["COUNTER_BASE", "ID_VALUE", "REGISTERS", "Access", "Bit", "Register", "register"]

ID_VALUE = 0x544E504A
"""``"JPNT"`` in little-endian bytes; also the magic word of a program image."""

COUNTER_BASE = 0x100
"""Offset of the first performance counter; each takes a low and a high word."""


class Access(StrEnum):
    """What software may do with a register."""

    READ = "read-only"
    WRITE = "read-write"
    COMMAND = "write 1 to trigger, reads as 0"
    CLEAR = "write 1 to clear"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bit:
    """A named bit of a register."""

    name: str
    position: int
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Register:
    """A 32-bit register."""

    name: str
    offset: int
    access: Access
    description: str
    bits: tuple[Bit, ...] = ()

    def mask(self, bit: str) -> int:
        """Return the mask of a named bit."""
        return next(1 << entry.position for entry in self.bits if entry.name == bit)


def _bits(*entries: tuple[str, str]) -> tuple[Bit, ...]:
    return tuple(
        Bit(name=name, position=position, description=description)
        for position, (name, description) in enumerate(entries)
    )


def _base_pair(name: str, offset: int, description: str) -> tuple[Register, Register]:
    return (
        Register(
            name=f"{name}_LOW",
            offset=offset,
            access=Access.WRITE,
            description=f"{description}, bits 31 to 0; a multiple of the beat size",
        ),
        Register(
            name=f"{name}_HIGH",
            offset=offset + 4,
            access=Access.WRITE,
            description=f"{description}, bits 63 to 32",
        ),
    )


_CONTROL = (
    Register(name="ID", offset=0x00, access=Access.READ, description="The bytes JPNT"),
    Register(name="VERSION", offset=0x04, access=Access.READ, description="Program format version"),
    Register(
        name="CONFIG_HASH",
        offset=0x08,
        access=Access.READ,
        description="Identity of the parameters; a program must carry the same",
    ),
    Register(
        name="CONTROL",
        offset=0x0C,
        access=Access.COMMAND,
        description="Commands",
        bits=_bits(
            ("LOAD", "Load the program image at PROGRAM_BASE"),
            ("RUN", "Run IMAGE_COUNT images from IMAGE_BASE, results to RESULT_BASE"),
            ("ABORT", "Stop, finish the bus transfers under way, forget the program; no interrupt"),
        ),
    ),
    Register(
        name="STATUS",
        offset=0x10,
        access=Access.READ,
        description="State",
        bits=_bits(
            ("BUSY", "A load, run or abort is going on"),
            ("LOADED", "A valid program is loaded"),
        ),
    ),
    Register(
        name="ERROR",
        offset=0x14,
        access=Access.CLEAR,
        description="First error since the last clear, an ErrorCode; any write clears it",
    ),
    Register(
        name="IRQ_STATUS",
        offset=0x18,
        access=Access.CLEAR,
        description="Pending interrupts",
        bits=_bits(
            ("DONE", "A load or run finished without an error"),
            ("ERROR", "The error register was set"),
        ),
    ),
    Register(
        name="IRQ_ENABLE",
        offset=0x1C,
        access=Access.WRITE,
        description="Interrupts that raise the irq pin, bits as in IRQ_STATUS",
        bits=_bits(("DONE", "A load or run finished"), ("ERROR", "An error was recorded")),
    ),
    *_base_pair("PROGRAM_BASE", 0x20, "Address of the program image"),
    *_base_pair("IMAGE_BASE", 0x28, "Address of the first image"),
    *_base_pair("RESULT_BASE", 0x30, "Address of the first result"),
    Register(
        name="IMAGE_COUNT",
        offset=0x38,
        access=Access.WRITE,
        description="Images of the next run, at least 1",
    ),
    Register(
        name="IMAGES_DONE",
        offset=0x3C,
        access=Access.READ,
        description="Images of this run whose results are in memory",
    ),
    Register(
        name="WATCHDOG",
        offset=0x40,
        access=Access.WRITE,
        description="Cycles without progress that count as an error; 0 disables",
    ),
)

_COUNTERS = tuple(
    Register(
        name=f"COUNTER_{counter.name}_{half}",
        offset=COUNTER_BASE + 8 * counter + 4 * index,
        access=Access.READ,
        description=f"Performance counter {counter.name}, "
        f"{'low 32 bits' if index == 0 else 'remaining high bits'}; cleared by RUN",
    )
    for counter in Counter
    for index, half in enumerate(("LOW", "HIGH"))
)

REGISTERS: tuple[Register, ...] = _CONTROL + _COUNTERS
"""All registers, by rising offset. Any other offset answers with an error."""


def register(name: str) -> Register:
    """Return a register by name."""
    return next(entry for entry in REGISTERS if entry.name == name)
