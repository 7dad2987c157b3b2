"""Which activations an instruction reads, and which lists each of them may meet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.instruction import LayerFlag, Opcode

__all__ = ["Pass", "Token", "pass_tokens", "passes", "tokens"]


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
            yield from _convolution(fields, config, cluster)
        else:
            yield from _fully_connected(fields, config, cluster)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Element:
    """An activation of a map's row: its column and channel, and where in the row it lies."""

    x: int
    channel: int
    word: int
    slot: int


def _row(fields: Mapping[str, int], config: AcceleratorConfig) -> Iterator[_Element]:
    """Yield what is read of one row of a map."""
    packing, tail = fields["source_packing"], fields["source_tail"]
    words = fields["source_pixel_words"]
    for x in range(fields["source_width"]):
        if packing:
            word, neighbour = divmod(x, 1 << packing)
            slots = config.act_word >> packing
            for channel in range(tail or slots):
                slot = neighbour * slots + channel
                yield _Element(x=x, channel=channel, word=word, slot=slot)
            continue
        columns = words * config.act_columns
        columns -= (config.act_columns - tail) if tail else 0
        for channel in range(columns * config.lanes):
            word, slot = divmod(channel, config.act_word)
            yield _Element(x=x, channel=channel, word=x * words + word, slot=slot)


def _fully_connected(
    fields: Mapping[str, int], config: AcceleratorConfig, cluster: int
) -> Iterator[Token]:
    for place in _places(fields, config, cluster):
        word, slot = divmod(place, config.act_word)
        owner, entry = _owner(fields, config, place)
        yield Token(
            cluster=cluster,
            bank=cluster,
            word=fields["source_base"] + word,
            slot=slot,
            owner=owner,
            entry=fields["pointer_base"] + entry,
            lists=1,
            base=0,
        )


def _places(fields: Mapping[str, int], config: AcceleratorConfig, cluster: int) -> Iterator[int]:
    """Yield the places in its bank of what a cluster reads of a vector, or of a map as one."""
    if not fields["flags"] & LayerFlag.MAP:
        rows = -(-(fields["source_rows"] - cluster) // config.clusters)
        yield from range(rows * config.lanes)
        return
    empty = fields["source_height"] % config.clusters
    fewer = fields["source_row_words"] if 0 < empty <= cluster else 0
    for first in range(0, fields["source_words"] - fewer, fields["source_row_words"]):
        for element in _row(fields, config):
            yield (first + element.word) * config.act_word + element.slot


def _owner(
    fields: Mapping[str, int], config: AcceleratorConfig, place: int
) -> tuple[int | None, int]:
    """Return the group that owns an input and the input's place among those with lists there."""
    if fields["flags"] & LayerFlag.DIVIDED:
        return place % config.groups, place // config.groups
    return None, place


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
    share = cluster ^ (config.half if fields["flags"] & LayerFlag.TARGET_SWAPPED else 0)
    first_block = 0 if fields["flags"] & LayerFlag.GATHER else fields["first_block"]
    for line in range(height):
        block = (first_block + line // block_rows) * config.clusters + share
        row = block * block_rows + line % block_rows
        for kernel_row in range(fields["kernel_height"]):
            y = (row << fields["stride_log2"]) + kernel_row - fields["padding_top"]
            if row < fields["output_height"] and 0 <= y < fields["source_height"]:
                yield Pass(line=line, kernel_row=kernel_row, y=y)


def _convolution(
    fields: Mapping[str, int], config: AcceleratorConfig, cluster: int
) -> Iterator[Token]:
    for row in passes(fields, config, cluster):
        yield from pass_tokens(fields, config, cluster, row)


def pass_tokens(
    fields: Mapping[str, int], config: AcceleratorConfig, cluster: int, row: Pass
) -> Iterator[Token]:
    """Yield the activations of one row that a cluster reads for a convolution, in order."""
    line, kernel_row, y = row.line, row.kernel_row, row.y
    swap = config.half if fields["flags"] & LayerFlag.SOURCE_SWAPPED else 0
    bank, width = y % config.clusters ^ swap, fields["output_width"]
    row_base = fields["source_base"] + y // config.clusters * fields["source_row_words"]
    shift = fields["stride_log2"]
    phase_mask = (1 << shift) - 1
    tap_row = (kernel_row >> shift) * fields["run_lists"]
    rows = 0 if fields["flags"] & LayerFlag.GATHER else fields["rows"]
    for element in _row(fields, config):
        column = element.x + fields["padding_left"]
        first = max(0, (column >> shift) - width + 1)
        last = min(fields["run_lists"] - 1, column >> shift)
        phase = ((kernel_row & phase_mask) << shift) + (column & phase_mask)
        owner, place = _owner(fields, config, element.channel)
        lists = phase * fields["phase_lists"] + place * fields["channel_lists"] + tap_row
        yield Token(
            cluster=cluster,
            bank=bank,
            word=row_base + element.word,
            slot=element.slot,
            owner=owner,
            entry=fields["pointer_base"] + lists + first,
            lists=last - first + 1,
            base=fields["first_sum"] + line * fields["line_rows"] + (column >> shift) * rows,
        )
