"""Packs weight lists: runs or blocks in place of rows, where they take fewer units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import ROW_MODULUS, SHORT_ROWS, SLOTS
from jpnet_spec.packed_lists import ListPacking, ListShape, PackedFields
from jpnet_sw.compiler.capacity import LayerLists, PartLists
from jpnet_sw.compiler.list_places import ListPlace
from jpnet_sw.compiler.lists import LaneLists

__all__ = ["ListEncoding", "pack_layers"]

_MOST_ADDED = 1 / 32
"""Entries of weight 0 that may be added, unless another encoding is out of the question."""


class ListEncoding(StrEnum):
    """How a program holds weight lists, see `jpnet_spec.packed_lists`."""

    EXPLICIT = "explicit"
    """A weight and its row."""
    RUN_LENGTH = "run-length"
    """A weight and the places without one before it."""
    BLOCKS = "blocks"
    """A weight of each block and its place there; channels keep their order."""
    SMALLEST = "smallest"
    """For each layer, or part of one, what takes the fewest units."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Packed:
    """Lists of a holder's lanes after packing, and how they are packed."""

    lanes: tuple[LaneLists, ...]
    fields: PackedFields

    @property
    def units(self) -> int:
        """Units of the program image."""
        return -(-int(self.fields.widths.sum()) // 64)

    @property
    def entries(self) -> int:
        """Entries of the fullest lane."""
        return max(len(item.entries) for item in self.lanes)


def pack_layers(
    layers: Sequence[LayerLists],
    columns: Sequence[int],
    places: Sequence[tuple[ListPlace, ...]],
    config: AcceleratorConfig,
    encoding: ListEncoding,
) -> tuple[list[LayerLists], list[tuple[ListPlace, ...]]]:
    """Pack lists as far as that fits; those of a shortcut that is summed are never packed.

    Parameters
    ----------
    layers
        Lists of all layers.
    columns
        Of each layer: lists after which their rows begin at 0 again.
    places
        Of each layer's parts, as they are without packing.
    config
        The accelerator.
    encoding
        What to pack as.

    Returns
    -------
    tuple
        Lists of all layers, and their parts' places.
    """
    spare: dict[int | None, int] = {}
    for layer, of_layer in zip(layers, places, strict=True):
        for part, place in zip(layer.parts, of_layer, strict=True):
            # The end of the last resident list is an address, too.
            depth = config.weight_depth
            have = depth - 1 if place.block is None else depth // SLOTS
            spare[place.block] = spare.get(place.block, have) - part.entries
    packed_layers, moved = [], []
    used: dict[int | None, int] = {}
    for layer, period, of_layer in zip(layers, columns, places, strict=True):
        parts, lying = [], []
        for part, place in zip(layer.parts, of_layer, strict=True):
            packed = _pack_part(part, period, part.entries + spare[place.block], encoding)
            spare[place.block] -= packed.entries - part.entries
            first = 0 if place.block is None else place.block % SLOTS * config.weight_depth // SLOTS
            offset = used.get(place.block, 0)
            used[place.block] = offset + packed.entries
            parts.append(packed)
            lying.append(replace(place, weights=first + offset))
        packed_layers.append(replace(layer, parts=tuple(parts)))
        moved.append(tuple(lying))
    return packed_layers, moved


def _pack_part(part: PartLists, columns: int, room: int, encoding: ListEncoding) -> PartLists:
    """Pack the lists of all holders alike, or none."""
    if encoding is ListEncoding.EXPLICIT or any(item.followers for item in part.lanes.values()):
        return part
    holders: dict[tuple[int, int | None], list[LaneLists]] = {}
    for (cluster, group, _), lists in part.lanes.items():
        holders.setdefault((cluster, group), []).append(lists)
    if part.alike:
        packed = _pack_holders({k: v for k, v in holders.items() if k[0] == 0}, part, columns)
    else:
        packed = _pack_holders(holders, part, columns)
    wide = max(item.farthest for item in part.lanes.values()) > SHORT_ROWS
    explicit = len(holders) * part.entries * (1 + wide)
    choices = []
    for kind, of_kind in packed.items():
        if encoding is not ListEncoding.SMALLEST and kind.name != encoding.name:
            continue
        entries = max(item.entries for item in of_kind.values())
        units = sum(item.units for item in of_kind.values()) * len(holders) // len(of_kind)
        small = entries <= (1 + _MOST_ADDED) * part.entries and units < explicit
        if entries <= room and (small or encoding is not ListEncoding.SMALLEST):
            choices.append((units, of_kind))
    if not choices:
        return part
    chosen = min(choices, key=lambda choice: choice[0])[1]
    lanes = {
        (cluster, group, lane): chosen[0 if part.alike else cluster, group].lanes[lane]
        for cluster, group, lane in part.lanes
    }
    return replace(part, lanes=lanes, packed={key: item.fields for key, item in chosen.items()})


def _pack_holders(
    holders: Mapping[tuple[int, int | None], Sequence[LaneLists]], part: PartLists, columns: int
) -> dict[ListPacking, dict[tuple[int, int | None], _Packed]]:
    """Return what each packing makes of the lists."""
    rows = part.part.rows
    runs = ListShape(packing=ListPacking.RUN_LENGTH, rows=rows, columns=columns)
    blocks = ListShape(packing=ListPacking.BLOCKS, rows=rows, columns=columns)
    return {
        ListPacking.RUN_LENGTH: {k: _pack_runs(lanes, runs) for k, lanes in holders.items()},
        ListPacking.BLOCKS: {k: _pack_blocks(lanes, blocks) for k, lanes in holders.items()},
    }


def _places(lists: LaneLists, shape: ListShape) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each entry's list and its place in it."""
    number = np.repeat(np.arange(len(lists.starts) - 1), np.diff(lists.starts))
    rows = (lists.entries >> 8).astype(np.int64)
    signed = np.where(rows < ROW_MODULUS // 2, rows, rows - ROW_MODULUS)
    return number, signed + number % shape.columns * shape.rows


def _entries(
    lists: NDArray[np.int64],
    places: NDArray[np.int64],
    weights: NDArray[np.uint8],
    shape: ListShape,
    count: int,
) -> LaneLists:
    """Return a lane's lists of entries in order, so many of them."""
    rows = (places - lists % shape.columns * shape.rows) % ROW_MODULUS
    return LaneLists(
        entries=(rows << 8 | weights).astype(np.uint32),
        starts=np.searchsorted(lists, np.arange(count + 1)),
    )


def _pack_runs(lanes: Sequence[LaneLists], shape: ListShape) -> _Packed:
    """Pack with the shortest fields that need few entries of weight 0, or with the longest."""
    reached = []
    for lists in lanes:
        number, place = _places(lists, shape)
        reached.append(number * shape.rows + place)
    gaps = [np.diff(places, prepend=-1) - 1 for places in reached]
    entries = max(map(len, reached))
    code = shape.most_code
    for shorter in range(shape.most_code):
        longest = max(len(gap) + int((gap >> shorter).sum()) for gap in gaps)
        if longest <= (1 + _MOST_ADDED) * entries:
            code = shorter
            break
    made, fields = [], []
    for lists, gap in zip(lanes, gaps, strict=True):
        added = gap >> code
        ends = np.cumsum(added + 1)
        weights = np.zeros(ends[-1] if len(ends) else 0, dtype=np.uint8)
        runs = np.full(len(weights), (1 << code) - 1, dtype=np.uint8)
        weights[ends - 1] = lists.entries & 0xFF
        runs[ends - 1] = gap & (1 << code) - 1
        numbers, rows = np.divmod(np.cumsum(runs.astype(np.int64) + 1) - 1, shape.rows)
        made.append(_entries(numbers, rows, weights, shape, len(lists.starts) - 1))
        fields.append(runs)
    longest = max(map(len, fields))
    return _Packed(
        lanes=tuple(made),
        fields=PackedFields(
            shape=shape,
            begins=True,
            code=code,
            fields=_side_by_side(fields, longest),
            codes=np.full(longest, code, dtype=np.uint8),
            trailing=np.full(longest, -1, dtype=np.int8),
        ),
    )


def _pack_blocks(lanes: Sequence[LaneLists], shape: ListShape) -> _Packed:
    """Pack each list with the largest blocks that keep the weights of every lane apart."""
    count = len(lanes[0].starts) - 1
    placed = [_places(lists, shape) for lists in lanes]
    codes = np.zeros(count, dtype=np.int64)
    for code in range(1, shape.most_code + 1):
        apart = np.ones(count, dtype=np.bool_)
        for number, place in placed:
            block = place >> code
            same = (number[1:] == number[:-1]) & (block[1:] == block[:-1])
            apart[number[1:][same]] = False
        codes[apart & (codes == code - 1)] = code
    sizes = (shape.rows - 1 >> codes) + 1
    starts = np.concatenate([[0], np.cumsum(sizes)])
    lists = np.repeat(np.arange(count), sizes)
    first = (np.arange(starts[-1]) - starts[lists]) << codes[lists]
    made, fields = [], []
    for source, (number, place) in zip(lanes, placed, strict=True):
        weights = np.zeros(starts[-1], dtype=np.uint8)
        offsets = np.zeros(starts[-1], dtype=np.uint8)
        entry = starts[number] + (place >> codes[number])
        weights[entry] = source.entries & 0xFF
        offsets[entry] = place & (1 << codes[number]) - 1
        made.append(_entries(lists, first + offsets, weights, shape, count))
        fields.append(offsets)
    trailing = np.full(starts[-1], -1, dtype=np.int8)
    trailing[starts[1:] - 1] = np.append(codes[1:], 0)
    return _Packed(
        lanes=tuple(made),
        fields=PackedFields(
            shape=shape,
            begins=True,
            code=int(codes[:1].sum()),
            fields=_side_by_side(fields, int(starts[-1])),
            codes=codes[lists].astype(np.uint8),
            trailing=trailing,
        ),
    )


def _side_by_side(fields: Sequence[NDArray[np.uint8]], longest: int) -> NDArray[np.uint8]:
    """Return the lanes' fields in columns; zeros follow shorter ones."""
    columns = np.zeros((longest, len(fields)), dtype=np.uint8)
    for column, item in zip(columns.T, fields, strict=True):
        column[: len(item)] = item
    return columns
