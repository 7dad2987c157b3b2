"""Where the block RAMs and multipliers of an accelerator lie on the device."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby, product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["block_ram_sites", "multiplier_sites"]

_ROWS = (22, 46, 70, 82)
_COLUMNS = (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
_COLUMN_SITES = 4
"""Block RAMs of an LFE5U-85F: in each row and column of the device four, two tiles apart."""

_MULTIPLIER_ROWS = (10, 34, 58)
_MULTIPLIER_PLACES = (0, 1, 4, 5)
"""Multipliers of an LFE5U-85F: in each of these rows and each column of block RAMs four."""

_LANE_COLUMNS = 2
"""Neighbouring columns that are filled row by row."""

_CLUSTER = re.compile(r"\.cluster_(\d+)\.|\.memory\.bank_(\d+)\.")

_SKIPPER = re.compile(r"(.*)\.skipper_(\d+)\.")

_OWNER = re.compile(r".*\.(?:lane|bank|context)_\d+\b")


def _region(rows: tuple[int, ...], columns: tuple[int, ...]) -> list[str]:
    """Return the sites of a part of the device, in the order of the columns."""
    return [
        f"X{column + 2 * place}/Y{row}/EBR{place}"
        for first in range(0, len(columns), _LANE_COLUMNS)
        for row in rows
        for column in columns[first : first + _LANE_COLUMNS]
        for place in range(_COLUMN_SITES)
    ]


def _regions(clusters: int) -> list[list[str]]:
    """Return one, two or four parts of the device, each from its middle outwards."""
    middle = len(_COLUMNS) // 2
    left, right = _COLUMNS[middle::-1], _COLUMNS[middle + 1 :]
    upper, lower = _ROWS[: len(_ROWS) // 2], _ROWS[len(_ROWS) // 2 :]
    if clusters == 1:
        firsts = range(0, len(_COLUMNS), _LANE_COLUMNS)
        outwards = sorted(firsts, key=lambda first: abs(first - middle))
        neighbours = [_COLUMNS[first : first + _LANE_COLUMNS] for first in outwards]
        return [_region(_ROWS, tuple(chain.from_iterable(neighbours)))]
    if clusters == 2:
        return [_region(_ROWS, left), _region(_ROWS, right)]
    return [_region(rows, columns) for rows in (upper, lower) for columns in (left, right)]


def _place(blocks: Iterable[list[str]], sites: list[str]) -> dict[str, str]:
    """Place blocks one after the other; those that fit a row of a lane's columns lie in one."""
    row = _LANE_COLUMNS * _COLUMN_SITES
    placed: dict[str, str] = {}
    first = 0
    for block in blocks:
        left = -first % row
        if left < len(block) <= row:
            first += left
        placed.update(zip(block, sites[first:], strict=False))
        first += len(block)
    return placed


def _owner(cell: str) -> str:
    found = _OWNER.match(cell)
    return cell if found is None else found[0]


def block_ram_sites(cells: Iterable[str], *, clusters: int) -> dict[str, str]:
    """Return where each block RAM lies, or nothing where they do not fit the device.

    An analytic placer needs something that holds the design apart: without it all logic begins in
    one point, and lanes end far from their memories. So each cluster has its part of the device,
    its lanes outside and its bank of activations further in; what all clusters use is in the
    middle.

    Parameters
    ----------
    cells
        Names of the block RAMs.
    clusters
        Of the accelerator.

    Returns
    -------
    Name to site of an LFE5U-85F.
    """
    names = sorted(cells)
    regions = _regions(clusters)
    owned: list[list[list[str]]] = [[] for _ in regions]
    shared: list[list[str]] = []
    for _, block in groupby(names, key=_owner):
        own = list(block)
        found = _CLUSTER.search(own[0])
        if found is None:
            shared.append(own)
        else:
            owned[int(found[1] or found[2]) * len(regions) // clusters].append(own)
    placed: dict[str, str] = {}
    for number, (sites, blocks) in enumerate(zip(regions, owned, strict=True)):
        inner = sorted(shared[number :: len(regions)], key=len)
        blocks.sort(key=lambda block: ".bank_" not in block[0])
        placed |= _place([*inner, *blocks], sites)
    return placed if len(placed) == len(names) else {}


def _places(sites: Iterable[str]) -> list[tuple[int, int]]:
    """Return columns and rows of the tiles of sites."""
    found = (re.match(r"X(\d+)/Y(\d+)/", site) for site in sites)
    return [(int(place[1]), int(place[2])) for place in found if place is not None]


def _nearest(wanted: Sequence[NDArray[np.float64]], offered: Sequence[str]) -> list[str]:
    """Return a site for each wanted place, with the least sum of squared distances."""
    if not wanted:
        return []
    distances = np.array(wanted)[:, np.newaxis] - np.array(_places(offered))
    _, chosen = linear_sum_assignment((distances**2).sum(axis=2))
    return [offered[site] for site in chosen]


def multiplier_sites(cells: Iterable[str], block_rams: Mapping[str, str]) -> dict[str, str]:
    """Return where each multiplier lies that belongs to a part with block RAMs.

    The multipliers lie in three rows of the device. Left to itself, a placer gives those of one
    part to the rows by what was free, far from the part. Here they lie near their part's block
    RAMs, which are those of a lane, of the lane of the drain, or of the skipper's bank, and those
    of one requantiser or skipper beside each other.

    Parameters
    ----------
    cells
        Names of the multipliers.
    block_rams
        Name to site of the block RAMs, from `block_ram_sites`.

    Returns
    -------
    Name to site of an LFE5U-85F; nothing where they do not fit so.
    """
    centres = {
        owner: np.mean(_places(block_rams[name] for name in block), axis=0)
        for owner, block in groupby(sorted(block_rams), key=_owner)
    }
    parts: dict[str, list[str]] = {}
    for name in sorted(cells):
        if _owner(_with_bank(name)) in centres:
            parts.setdefault(name.rpartition(".")[0], []).append(name)
    wanted = {part: centres[_owner(_with_bank(f"{part}."))] for part in parts}
    free = {
        f"X{column}/Y{row}/": [
            f"X{column + place}/Y{row}/MULT18_{place}" for place in _MULTIPLIER_PLACES
        ]
        for row, column in product(_MULTIPLIER_ROWS, _COLUMNS)
    }
    several = [part for part, names in parts.items() if len(names) > 1]
    if len(several) > len(free) or any(len(parts[part]) > 4 for part in several):
        return {}
    placed: dict[str, str] = {}
    groups = _nearest([wanted[part] for part in several], list(free))
    for part, group in zip(several, groups, strict=True):
        for name in parts[part]:
            placed[name] = free[group].pop(0)
    alone = [name for part, names in parts.items() if part not in several for name in names]
    left = list(chain.from_iterable(free.values()))
    if len(alone) > len(left):
        return {}
    sites = _nearest([wanted[name.rpartition(".")[0]] for name in alone], left)
    return placed | dict(zip(alone, sites, strict=True))


def _with_bank(cell: str) -> str:
    """Return the name of a skipper's cell as if it were one of its bank."""
    return _SKIPPER.sub(r"\1.memory.bank_\2.", cell)
