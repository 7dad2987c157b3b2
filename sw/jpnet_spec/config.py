"""The accelerator's parameters and everything derived from them."""

import json
import zlib
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.instruction import FORMAT_VERSION
from jpnet_spec.packed_lists import FIELDS

__all__ = ["AcceleratorConfig"]

_POWERS_OF_TWO = (
    "lanes",
    "groups",
    "clusters",
    "contexts",
    "act_word",
    "weight_depth",
    "pointer_depth",
    "acc_depth",
    "act_depth",
    "param_depth",
    "program_depth",
    "fifo_depth",
    "axi_data_width",
)

_LIMITS = {
    "lanes": (1, 64),
    "groups": (1, 16),
    "clusters": (1, 64),
    "contexts": (1, 4),
    "act_word": (4, 64),
    "weight_depth": (16, 65536),
    "pointer_depth": (16, 65536),
    "acc_depth": (4, 16384),
    "acc_width": (16, 32),
    "act_depth": (4, 65536),
    "param_depth": (4, 65536),
    "program_depth": (1, 1024),
    "fifo_depth": (4, 64),
    "axi_data_width": (32, 512),
    "axi_addr_width": (16, 64),
    "list_decoder": (0, 1),
}


_ADDRESSES = 2**16
"""Words, and accumulator rows, that an instruction can tell apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AcceleratorConfig:
    """Parameters of one accelerator; all depths and counts are powers of two.

    Parameters
    ----------
    lanes
        Lanes of a group, one multiplier each; also the outputs drained per cycle.
    groups
        Groups of a cluster, behind one dispatcher.
    clusters
        Clusters, each with its own share of the activation stream.
    contexts
        Images in flight, 1, 2 or 4: while one drains, the others compute.
    act_word
        Activations that a cluster reads in a cycle: a word of its activation memory.
    weight_depth
        Entries of a lane's weight memory.
    pointer_depth
        Entries of a lane's list table.
    acc_depth
        Accumulators per lane and context; an image has those of several contexts where fewer images
        are in flight.
    acc_width
        Bits of an accumulator.
    act_depth
        Words of a context's activation memory, per cluster; likewise.
    param_depth
        Rows of the channel parameter memory.
    program_depth
        Instructions.
    fifo_depth
        Lists waiting at a lane, those that are being looked up included.
    axi_data_width, axi_addr_width
        Bits of the AXI4 master.
    list_decoder
        Whether the loader unpacks packed lists, see `jpnet_spec.packed_lists`: 0 or 1. With 1 there
        are at most 4 lanes.

    Raises
    ------
    ValueError
        If a parameter is out of range or two contradict each other.
    """

    lanes: int = 4
    groups: int = 1
    clusters: int = 4
    contexts: int = 4
    act_word: int = 8
    weight_depth: int = 2048
    pointer_depth: int = 2048
    acc_depth: int = 512
    acc_width: int = 24
    act_depth: int = 512
    param_depth: int = 512
    program_depth: int = 128
    fifo_depth: int = 16
    axi_data_width: int = 64
    axi_addr_width: int = 32
    list_decoder: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ValueError(
                    f"AcceleratorConfig.{name} must be an integer from {low} to {high}, "
                    f"not {value!r}"
                )
        for name in _POWERS_OF_TWO:
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"AcceleratorConfig.{name} must be a power of two, not {value!r}")
        if self.act_word < self.beat_bytes:
            raise ValueError(
                "AcceleratorConfig.act_word must be at least the bytes of an AXI beat, "
                f"{self.beat_bytes}, not {self.act_word!r}"
            )
        for name in ("act_depth", "acc_depth"):
            total = getattr(self, name) * self.contexts
            if total > _ADDRESSES:
                raise ValueError(
                    f"AcceleratorConfig.{name} must be at most {_ADDRESSES // self.contexts} for "
                    f"{self.contexts} contexts, not {total // self.contexts!r}"
                )
        if self.list_decoder and self.lanes > FIELDS:
            raise ValueError(
                f"AcceleratorConfig.lanes must be at most {FIELDS} with list_decoder, "
                f"not {self.lanes!r}"
            )
        if self.axi_data_width < 8 * self.lanes:
            raise ValueError(
                "AcceleratorConfig.axi_data_width must be at least 8 bits a lane, "
                f"{8 * self.lanes}, not {self.axi_data_width!r}"
            )

    @property
    def mac_units(self) -> int:
        """Multipliers: MACs per cycle when all lanes are fed."""
        return self.lanes * self.groups * self.clusters

    @property
    def acc_addr_width(self) -> int:
        """Bits of an accumulator's address within one context's memory."""
        return (self.acc_depth - 1).bit_length()

    @property
    def acc_row_width(self) -> int:
        """Bits of an accumulator row's number; a lone image has the rows of all contexts."""
        return (self.acc_depth * self.contexts - 1).bit_length()

    @property
    def weight_addr_width(self) -> int:
        """Bits of a weight memory address."""
        return (self.weight_depth - 1).bit_length()

    @property
    def pointer_addr_width(self) -> int:
        """Bits of a list table address."""
        return (self.pointer_depth - 1).bit_length()

    @property
    def entry_width(self) -> int:
        """Bits of a weight memory entry: ``{row, weight}``, the weight in the low 8 bits.

        The row is an offset from -`acc_depth` to ``acc_depth - 1``.
        """
        return 8 + self.acc_addr_width + 1

    @property
    def pointer_width(self) -> int:
        """Bits of a list table entry: where the list starts in the weight memory."""
        return self.weight_addr_width

    @property
    def turns(self) -> tuple[int, ...]:
        """By how many places the clusters turn in each context.

        Output rows belong to places, as many as there are clusters; cluster c takes place
        ``(c + turn) % clusters``. The turns of the first 1, 2 or 4 contexts, as many as are used,
        are equally far apart.
        """
        turns = [0]
        while len(turns) < self.contexts:
            step = self.clusters // (2 * len(turns))
            turns += [turn + step for turn in turns]
        return tuple(turns)

    @property
    def list_width(self) -> int:
        """Bits of an entry of a weight memory or a list table, whichever has more."""
        return max(self.entry_width, self.pointer_width)

    @property
    def act_columns(self) -> int:
        """Columns of an activation word, each as wide as one drained row."""
        return self.act_word // self.lanes

    def row_places(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return where a tensor's rows lie: cluster, word from the tensor's base, column.

        Neighbouring rows lie in neighbouring clusters, so that the clusters share every part of a
        tensor; within a cluster its rows fill the columns of one word after the other.
        """
        local = rows // self.clusters
        return rows % self.clusters, local // self.act_columns, local % self.act_columns

    def bank_words(self, rows: int) -> int:
        """Return the words that a tensor of that many rows takes in each cluster."""
        return -(-rows // (self.clusters * self.act_columns))

    @property
    def beat_rows(self) -> int:
        """Rows of an image in one AXI data beat."""
        return self.beat_bytes // self.lanes

    @property
    def act_addr_width(self) -> int:
        """Bits of a word address within one cluster; a lone image has the words of all contexts."""
        return (self.act_depth * self.contexts - 1).bit_length()

    @property
    def beat_bytes(self) -> int:
        """Bytes of one AXI data beat."""
        return self.axi_data_width // 8

    @property
    def config_hash(self) -> int:
        """32-bit identity of all parameters and the format version; schedules carry it.

        A decoder of lists counts where there is one: the format is the same without.
        """
        parameters = {**asdict(self), "format_version": FORMAT_VERSION}
        if not self.list_decoder:
            del parameters["list_decoder"]
        return zlib.crc32(json.dumps(parameters, sort_keys=True).encode())

    def as_dict(self) -> dict[str, int]:
        """Return all parameters by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}
