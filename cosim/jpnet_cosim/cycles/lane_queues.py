"""Lanes of the cycle model: when each run of lists is taken, and when a group has room."""

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.compiled import compiled
from jpnet_cosim.cycles.records import Record, record_dtype
from jpnet_cosim.cycles.shape import Shape

__all__ = ["LANE", "UNCOUNTED", "accept_end", "accept_token", "has_room", "new_lanes"]

_ROOM_DELAY = 2
"""Cycles after which a group knows that a lane took a run."""

_UNSEEN = 3
"""Tokens that may come before the first of them is known to take room."""

_RECENT = 8
"""Cycles of which dropped tokens are remembered; more than one takes room."""

UNCOUNTED = 64
"""Cycles that lanes may wait before that is counted."""

_RUNS = 128
"""Runs that are remembered at most, twice those of the deepest queue."""

LANE = record_dtype(
    numbers="count head issued free blocked_until mask",
    came=(_RUNS,),
    taken=(_RUNS,),
    ends=(_RUNS,),
    dropped=(_RECENT,),
)
"""Runs that a lane was given, and what it will do.

It takes one run after the other, each when it came and the one before has ended, so the time is
known when a token is accepted. ``count`` runs so far, ``head`` of them known to be taken, and
``issued`` of them taken when that was asked last; of each
the cycle in which the token was accepted, in which it is ``taken`` and in which its last product
is issued; ``free`` is the first cycle in which the next one may be taken. ``dropped`` are the
cycles in which tokens without weights were accepted. ``blocked_until`` is the group's: it has no
room before."""


def new_lanes(shape: Shape, longest: int) -> tuple[NDArray, NDArray[np.int64], NDArray[np.int64]]:
    """Return idle lanes, and the changes of idle and of dropping lanes in the cycles to come.

    Parameters
    ----------
    shape
        Of the accelerator.
    longest
        Weights of the longest run.

    Returns
    -------
    lanes : of `LANE`, shape (clusters, groups, lanes)
    idle, empty : int64, shape (clusters, horizon)
        By cycle modulo the horizon: by how many lanes those without a product become more, and
        how many drop a token instead.
    """
    lanes = np.zeros((shape.clusters, shape.groups, shape.lanes), dtype=LANE)
    lanes["dropped"], lanes["mask"] = -_RECENT, 2 * shape.fifo_depth - 1
    ahead = (shape.fifo_depth + _UNSEEN) * (longest + 1) + 2 * _RECENT + UNCOUNTED
    horizon = (shape.clusters, 1 << ahead.bit_length())
    return lanes, np.zeros(horizon, dtype=np.int64), np.zeros(horizon, dtype=np.int64)


@compiled
def has_room(lanes: Record, cluster: int, group: int, depth: int, now: int) -> bool:
    """Return whether a group's lanes take a token in this cycle."""
    first = lanes[cluster, group, 0]
    if now < first.blocked_until:
        return False
    for number in range(lanes.shape[2]):
        lane = lanes[cluster, group, number]
        count, head = lane.count, lane.head
        while head < count and lane.taken[head & lane.mask] <= now - _ROOM_DELAY:
            head += 1
        lane.head = head
        waiting = count - head
        if waiting + _UNSEEN <= depth - _UNSEEN:
            continue
        seen = count - 1
        while seen >= head and lane.came[seen & lane.mask] > now - _UNSEEN:
            seen -= 1
            waiting -= 1
        drops = 0
        for age in range(_UNSEEN, 2 * _UNSEEN):
            drops += lane.dropped[(now - age) & (_RECENT - 1)] == now - age
        surplus = waiting + drops - (depth - _UNSEEN)
        if surplus > 0:
            if drops == 0:
                first.blocked_until = lane.taken[(head + surplus - 1) & lane.mask] + _ROOM_DELAY
            return False
    return True


@compiled
def _add_run(lane: Record, now: int, ready: int, length: int) -> int:
    """Give a lane a run, of no weights for a job's end; return when it is taken."""
    start: int = max(ready, lane.free)
    place = lane.count & lane.mask
    lane.count += 1
    lane.came[place] = now
    lane.taken[place] = start
    lane.ends[place] = start + length
    lane.free = start + max(length, 1)
    return start


@compiled
def _issues(lane: Record, cycle: int) -> bool:
    """Return whether a lane issues a product in a cycle, which is later at each call.

    Only runs of that cycle were accepted so far.
    """
    oldest = max(lane.count - lane.mask, 0)
    issued = max(lane.issued, oldest)
    while issued < lane.count and lane.taken[issued & lane.mask] < cycle:
        issued += 1
    lane.issued = issued
    within: bool = issued > oldest and cycle <= lane.ends[(issued - 1) & lane.mask]
    return within


@compiled
def accept_token(
    lanes: Record,
    idle: NDArray[np.int64],
    empty: NDArray[np.int64],
    lengths: NDArray[np.uint16],
    group: tuple[int, int],
    token: tuple[int, int],
    run_cycles: int,
    now: int,
) -> None:
    """Give a group's lanes a token.

    Parameters
    ----------
    lanes, idle, empty
        From `new_lanes`.
    lengths : uint16, shape (words, slots, lanes)
        Weights that activations meet in each lane.
    group
        Cluster and group.
    token
        Word and slot.
    run_cycles, now
        Cycles until its run may be taken; the cycle.
    """
    last, ready, cluster = idle.shape[1] - 1, now + run_cycles, group[0]
    for number in range(lanes.shape[2]):
        lane = lanes[cluster, group[1], number]
        length = int(lengths[token[0], token[1], number])
        if length:
            start = _add_run(lane, now, ready, length)
            idle[cluster, (start + 1) & last] -= 1
            idle[cluster, (start + length + 1) & last] += 1
        else:
            lane.dropped[now & (_RECENT - 1)] = now
            if not _issues(lane, ready - 1):
                empty[cluster, (ready - 1) & last] += 1


@compiled
def accept_end(lanes: Record, cluster: int, run_cycles: int, now: int) -> int:
    """Give all lanes of a cluster a job's end; return when the last of them takes it."""
    last = 0
    for group in range(lanes.shape[1]):
        for number in range(lanes.shape[2]):
            lane = lanes[cluster, group, number]
            last = max(last, _add_run(lane, now, now + run_cycles, 0))
    return last
