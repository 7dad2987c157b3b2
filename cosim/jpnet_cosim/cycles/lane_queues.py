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

_HISTORY = 8
"""Cycles of which tokens are remembered; those of more than one take room."""

UNCOUNTED = 64
"""Cycles that lanes may wait before that is counted."""

_RUNS = 128
"""Runs that are remembered at most, twice those of the deepest queue."""

LANE = record_dtype(
    numbers="count free begun end mask ran came token_cycle blocked_until",
    taken=(_RUNS,),
    ends=(_RUNS,),
)
"""Runs that a lane was given, and what it will do.

It takes one run after the other, each when it came and the one before has ended, so the time is
known when a token is accepted. ``count`` runs so far; of each the cycle in which it is ``taken``
and in which its last product is issued; ``free`` is the first cycle in which the next one may be
taken, ``begun`` that in which the last one was that followed a pause, and ``end`` that of the last
job's end. Of the last tokens, one bit a cycle back from the ``token_cycle`` of the last one,
whether they ``ran``, and whether they ``came`` at all; the cycle and ``came`` are the group's, as
is ``blocked_until``: it has no room before."""


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
    lanes["mask"], lanes["end"] = 2 * shape.fifo_depth - 1, -1
    ahead = (shape.fifo_depth + _UNSEEN) * (longest + 1) + 2 * _HISTORY + UNCOUNTED
    horizon = (shape.clusters, 1 << ahead.bit_length())
    return lanes, np.zeros(horizon, dtype=np.int64), np.zeros(horizon, dtype=np.int64)


@compiled
def has_room(lanes: Record, cluster: int, group: int, depth: int, now: int) -> bool:
    """Return whether a group's lanes take a token in this cycle."""
    first = lanes[cluster, group, 0]
    if now < first.blocked_until:
        return False
    age, room = min(now - first.token_cycle, _HISTORY), True
    for number in range(lanes.shape[2]):
        lane = lanes[cluster, group, number]
        ran, unseen, drops = lane.ran << age, 0, 0
        if age < _UNSEEN:
            unseen = (ran >> 1 & 1) + (ran >> 2 & 1)
        fell = first.came << age & ~ran
        if age < 2 * _UNSEEN:
            drops = (fell >> 3 & 1) + (fell >> 4 & 1) + (fell >> 5 & 1)
        needed = lane.count - unseen + drops - (depth - _UNSEEN) - 1
        if needed < 0:
            continue
        taken = lane.taken[needed & lane.mask] + _ROOM_DELAY
        if taken > now:
            room = False
            if drops == 0:
                first.blocked_until = max(first.blocked_until, taken)
    return room


@compiled
def _add_run(lane: Record, ready: int, length: int) -> int:
    """Give a lane a run, of no weights for a job's end; return when it is taken."""
    start: int = max(ready, lane.free)
    if ready > lane.free:
        lane.begun = ready
    place = lane.count & lane.mask
    lane.count += 1
    lane.taken[place] = start
    lane.ends[place] = start + length
    lane.free = start + max(length, 1)
    return start


@compiled
def _issues(lane: Record, cycle: int) -> bool:
    """Return whether a lane issues a product in a cycle, not before which a run may be added."""
    if cycle > lane.end + 1:
        issuing: bool = lane.begun < cycle <= lane.free
        return issuing
    for back in range(1, min(lane.count, lane.mask) + 1):
        place = (lane.count - back) & lane.mask
        if lane.taken[place] < cycle:
            within: bool = cycle <= lane.ends[place]
            return within
    return False


@compiled
def _remember(lanes: Record, cluster: int, group: int, now: int) -> None:
    """Let the tokens of a group's history be as old as they are."""
    first = lanes[cluster, group, 0]
    age = min(now - first.token_cycle, _HISTORY)
    first.token_cycle = now
    first.came = (first.came << age | 1) & ((1 << _HISTORY) - 1)
    for number in range(lanes.shape[2]):
        lane = lanes[cluster, group, number]
        lane.ran = lane.ran << age & ((1 << _HISTORY) - 1)


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
    _remember(lanes, cluster, group[1], now)
    for number in range(lanes.shape[2]):
        lane = lanes[cluster, group[1], number]
        length = int(lengths[token[0], token[1], number])
        if length:
            lane.ran |= 1
            start = _add_run(lane, ready, length)
            idle[cluster, (start + 1) & last] -= 1
            idle[cluster, (start + length + 1) & last] += 1
        elif not _issues(lane, ready - 1):
            empty[cluster, (ready - 1) & last] += 1


@compiled
def accept_end(lanes: Record, cluster: int, run_cycles: int, now: int) -> int:
    """Give all lanes of a cluster a job's end; return when the last of them takes it."""
    last = 0
    for group in range(lanes.shape[1]):
        _remember(lanes, cluster, group, now)
        for number in range(lanes.shape[2]):
            lane = lanes[cluster, group, number]
            lane.ran |= 1
            lane.end = _add_run(lane, now + run_cycles, 0)
            last = max(last, lane.end)
    return last
