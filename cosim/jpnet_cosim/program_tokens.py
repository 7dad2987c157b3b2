"""Which activations an instruction reads, and which lists each of them may meet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.instruction import LayerFlag, Opcode

__all__ = [
    "ANY_GROUP",
    "Pass",
    "Token",
    "Tokens",
    "pass_tokens",
    "passes",
    "tokens",
    "vector_tokens",
]

ANY_GROUP = -1
"""No owner."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """An activation on its way to a cluster's groups.

    Parameters
    ----------
    cluster
        Whose lanes it goes to.
    bank, word, slot
        Where it lies in the activation memory.
    owner
        The only group that may take it, or None.
    entry, lists
        First list table entry and number of lists.
    base
        Accumulator row that the lists' rows are added to, modulo the accumulators.
    """

    cluster: int
    bank: int
    word: int
    slot: int
    owner: int | None
    entry: int
    lists: int
    base: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tokens:
    """Activations of one bank on their way to one cluster's groups, in order.

    Parameters
    ----------
    cluster, bank
        As in `Token`.
    word, slot, owner, entry, lists, base : int64, shape (tokens,)
        As in `Token`; of an owner `ANY_GROUP` for None.
    """

    cluster: int
    bank: int
    word: NDArray[np.int64]
    slot: NDArray[np.int64]
    owner: NDArray[np.int64]
    entry: NDArray[np.int64]
    lists: NDArray[np.int64]
    base: NDArray[np.int64]

    def __iter__(self) -> Iterator[Token]:
        columns = (self.word, self.slot, self.owner, self.entry, self.lists, self.base)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for word, slot, owner, entry, lists, base in rows:
            yield Token(
                cluster=self.cluster,
                bank=self.bank,
                word=word,
                slot=slot,
                owner=None if owner == ANY_GROUP else owner,
                entry=entry,
                lists=lists,
                base=base,
            )


def tokens(fields: Mapping[str, int], config: AcceleratorConfig) -> Iterator[Token]:
    """Yield the activations of all clusters, survivors or not, in each cluster's order.

    Parameters
    ----------
    fields
        Of the instruction, by name.
    config
        The accelerator.
    """
    for cluster in range(config.clusters):
        if fields["opcode"] == Opcode.CONVOLUTION:
            for row in passes(fields, config, cluster):
                yield from pass_tokens(fields, config, cluster, row)
        else:
            yield from vector_tokens(fields, config, cluster)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Elements:
    """Activations of a map's row: their columns and channels, and where in the row they lie.

    Parameters
    ----------
    x, channel, word, slot : int64, shape (elements,)
    """

    x: NDArray[np.int64]
    channel: NDArray[np.int64]
    word: NDArray[np.int64]
    slot: NDArray[np.int64]


def _row(fields: Mapping[str, int], config: AcceleratorConfig) -> _Elements:
    """Return what is read of one row of a map."""
    packing, tail = fields["source_packing"], fields["source_tail"]
    words = fields["source_pixel_words"]
    if packing:
        slots = config.act_word >> packing
        channels = tail or slots
    else:
        columns = words * config.act_columns
        columns -= (config.act_columns - tail) if tail else 0
        channels = columns * config.lanes
    x, channel = (part.ravel() for part in np.indices((fields["source_width"], channels)))
    if packing:
        word, neighbour = np.divmod(x, 1 << packing)
        return _Elements(x=x, channel=channel, word=word, slot=neighbour * slots + channel)
    word, slot = np.divmod(channel, config.act_word)
    first_word = x * (words + fields["source_pixel_gap"])
    return _Elements(x=x, channel=channel, word=first_word + word, slot=slot)


def vector_tokens(fields: Mapping[str, int], config: AcceleratorConfig, cluster: int) -> Tokens:
    """Return the activations that a cluster reads of a vector, or of a map as one, in order."""
    place = _places(fields, config, cluster)
    word, slot = np.divmod(place, config.act_word)
    owner, entry = _owner(fields, config, place)
    return Tokens(
        cluster=cluster,
        bank=cluster,
        word=fields["source_base"] + word,
        slot=slot,
        owner=owner,
        entry=fields["pointer_base"] + entry,
        lists=np.ones_like(place),
        base=np.zeros_like(place),
    )


def _places(
    fields: Mapping[str, int], config: AcceleratorConfig, cluster: int
) -> NDArray[np.int64]:
    """Return the places in its bank of what a cluster reads of a vector, or of a map as one."""
    if not fields["flags"] & LayerFlag.MAP:
        rows = -(-(fields["source_rows"] - cluster) // config.clusters)
        return np.arange(rows * config.lanes)
    empty = fields["source_height"] % config.clusters
    fewer = fields["source_row_words"] if 0 < empty <= cluster else 0
    row = _row(fields, config)
    # Words are alike in every pixel, and, where pixels share words, in every row.
    repeated = "source_row_words" if fields["source_packing"] else "source_pixel_words"
    used = np.zeros((fields[repeated], config.act_word), dtype=np.bool_)
    mine = row.word < fields[repeated]
    used[row.word[mine], row.slot[mine]] = True
    return np.flatnonzero(np.resize(used, (fields["source_words"] - fewer, config.act_word)))


def _owner(
    fields: Mapping[str, int], config: AcceleratorConfig, place: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the groups that own inputs and the inputs' places among those with lists there."""
    if fields["flags"] & LayerFlag.DIVIDED:
        return place % config.groups, place // config.groups
    return np.full_like(place, ANY_GROUP), place


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One row of the source that a cluster reads for one of its rows of outputs.

    Parameters
    ----------
    line
        The row of outputs, counted in the tile's rows of the cluster.
    kernel_row
        Row of the kernel.
    y
        Row of the source.
    """

    line: int
    kernel_row: int
    y: int


def passes(fields: Mapping[str, int], config: AcceleratorConfig, cluster: int) -> Iterator[Pass]:
    """Yield the rows that a cluster reads for a convolution, in order."""
    height, block_rows = fields["pool_stride"] * fields["blocks"], fields["pool_stride"]
    first_block = 0 if fields["flags"] & LayerFlag.GATHER else fields["first_block"]
    for line in range(height):
        block = (first_block + line // block_rows) * config.clusters + cluster
        row = block * block_rows + line % block_rows
        for kernel_row in range(fields["kernel_height"]):
            y = (row << fields["stride_log2"]) + kernel_row - fields["padding_top"]
            if row < fields["output_height"] and 0 <= y < fields["source_height"]:
                yield Pass(line=line, kernel_row=kernel_row, y=y)


def pass_tokens(
    fields: Mapping[str, int], config: AcceleratorConfig, cluster: int, row: Pass
) -> Tokens:
    """Return the activations of one row that a cluster reads for a convolution, in order."""
    kernel_row, y = row.kernel_row, row.y
    width, shift = fields["output_width"], fields["stride_log2"]
    row_base = fields["source_base"] + y // config.clusters * fields["source_row_words"]
    phase_mask = (1 << shift) - 1
    tap_row = (kernel_row >> shift) * fields["run_lists"]
    rows = 0 if fields["flags"] & LayerFlag.GATHER else fields["rows"]
    elements = _row(fields, config)
    column = elements.x + fields["padding_left"]
    output = column >> shift
    first = np.maximum(0, output - width + 1)
    last = np.minimum(fields["run_lists"] - 1, output)
    phase = ((kernel_row & phase_mask) << shift) + (column & phase_mask)
    owner, place = _owner(fields, config, elements.channel)
    lists = phase * fields["phase_lists"] + place * fields["channel_lists"] + tap_row
    return Tokens(
        cluster=cluster,
        bank=y % config.clusters,
        word=row_base + elements.word,
        slot=elements.slot,
        owner=owner,
        entry=fields["pointer_base"] + lists + first,
        lists=last - first + 1,
        base=fields["first_sum"] + row.line * fields["line_rows"] + output * rows,
    )
