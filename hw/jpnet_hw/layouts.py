"""Payloads that travel between components."""

from amaranth.hdl import Shape, Signal, signed, unsigned
from amaranth.lib import data

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory, section_lanes

__all__ = [
    "acc_read_layout",
    "carried_read_layout",
    "context_shape",
    "group_token_layout",
    "list_load_layout",
    "load_layout",
    "param_layout",
    "row_write_layout",
    "struct_signal",
    "token_layout",
]


def struct_signal(
    layout: data.Layout, *, name: str | None = None, reset_less: bool = False
) -> data.View:
    """Make a signal with fields; it is named after the variable it is assigned to."""
    signal = Signal(layout, name=name, reset_less=reset_less, src_loc_at=1)
    return data.View(layout, signal)


def context_shape(config: AcceleratorConfig) -> Shape:
    """Shape of a context's number, at least one bit."""
    return unsigned(max(1, (config.contexts - 1).bit_length()))


def token_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Surviving activation on its way from the zero skipper to the dispatcher.

    It meets the lists from ``pointer`` up to, but not including, ``stop``, and the products go to
    the accumulator rows that lie the entries' rows from ``base``. ``last`` marks the end of a job
    and carries no activation. ``divided`` sends the token to the group ``owner`` only; otherwise
    any group may take it.
    """
    return data.StructLayout(
        {
            "act": signed(8),
            "pointer": unsigned(config.pointer_addr_width),
            "stop": unsigned(config.pointer_addr_width),
            "base": unsigned(config.acc_row_width),
            "context": context_shape(config),
            "owner": unsigned(max(1, (config.groups - 1).bit_length())),
            "divided": unsigned(1),
            "last": unsigned(1),
        }
    )


def group_token_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Surviving activation on its way to all lanes of a group; the fields are the token's."""
    return data.StructLayout(
        {
            "act": signed(8),
            "pointer": unsigned(config.pointer_addr_width),
            "stop": unsigned(config.pointer_addr_width),
            "base": unsigned(config.acc_row_width),
            "context": context_shape(config),
            "last": unsigned(1),
        }
    )


def load_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One entry written by the program loader; broadcast, each memory picks what is its own.

    Of channel parameters and instructions it is ``data``. Of lists it is an element of ``lists``
    for each of as many lanes from ``lane`` on; where they are ``wide`` there are half as many, and
    the elements repeat.
    """
    lanes = section_lanes(Memory.WEIGHT, wide=False)
    return data.StructLayout(
        {
            "memory": unsigned(2),
            "wide": unsigned(1),
            "lane": unsigned(8),
            "cluster": unsigned(7),
            "all_clusters": unsigned(1),
            "group": unsigned(7),
            "all_groups": unsigned(1),
            "address": unsigned(16),
            "data": unsigned(72),
            "lists": data.ArrayLayout(unsigned(config.list_width), lanes),
        }
    )


def list_load_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One entry of a lane's weight memory or list table; the fields are those of a load entry."""
    return data.StructLayout(
        {
            "memory": unsigned(2),
            "address": unsigned(16),
            "data": unsigned(config.list_width),
        }
    )


def param_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Channel parameters, as packed in a load entry's data: bias, multipliers, phase.

    A second tensor's outputs may be ``inverted``.
    """
    return data.StructLayout(
        {
            "bias": signed(31),
            "inverted": unsigned(1),
            "multiplier": unsigned(16),
            "negative_multiplier": unsigned(16),
            "phase": unsigned(8),
        }
    )


def acc_read_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Accumulator row to read, broadcast to all lanes; with ``keep`` it is not re-armed yet.

    ``context`` and ``row`` are the memory and the row in it, see
    `jpnet_hw.context_space.accumulator_place`.
    """
    return data.StructLayout(
        {
            "context": context_shape(config),
            "row": unsigned(config.acc_addr_width),
            "keep": unsigned(1),
        }
    )


def carried_read_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Row of a context to read in every bank of the activation memory."""
    return data.StructLayout(
        {
            "context": context_shape(config),
            "address": unsigned(config.act_addr_width),
            "column": unsigned(max(1, (config.act_columns - 1).bit_length())),
        }
    )


def row_write_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Drained rows on their way to a context's activation memory, one for each bank.

    ``address`` is the word address and ``column`` the place in the word, the same in all ``banks``
    that are written.
    """
    row = data.ArrayLayout(signed(8), config.lanes)
    return data.StructLayout(
        {
            "context": context_shape(config),
            "banks": unsigned(config.clusters),
            "address": unsigned(config.act_addr_width),
            "column": unsigned(max(1, (config.act_columns - 1).bit_length())),
            "acts": data.ArrayLayout(row, config.clusters),
        }
    )
