"""Token builders and dispatchers of the cycle model: from words to groups."""

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.compiled import compiled
from jpnet_cosim.cycles.lane_queues import accept_end, accept_token, has_room
from jpnet_cosim.cycles.latencies import Latencies
from jpnet_cosim.cycles.records import CONTEXTS, END, NEVER, NOBODY, Record, record_dtype
from jpnet_cosim.cycles.shape import Shape
from jpnet_spec.counters import Counter

__all__ = ["PIPE", "new_pipes", "next_token_time", "step_tokens"]

_STAGES = 16
"""More stages than a token builder has; a power of two."""

PIPE = record_dtype(
    numbers="context word slot mask kept_context kept_word kept_slot turn count first quiet cause "
    "since waiting",
    flags="blocked",
    stage_context=(_STAGES,),
    stage_word=(_STAGES,),
    stage_slot=(_STAGES,),
    done=(CONTEXTS,),
)
"""State of a cluster's token builder and dispatcher.

The word that is worked on, its next ``slot`` and the slots of the survivors that are left, one bit
each (``mask``), no context where there is none; tokens in the builder's stages, the ``first`` of
which moves on through the ring, and the one ``kept`` in the buffer behind them, in all ``count``;
the group whose ``turn`` it is. Of each context the cycle in which all products of its job are
summed, `NEVER` until it is known. Nothing moves before ``quiet`` but where a word comes. Whether a
token is ``blocked`` in this cycle. Lanes that are ``waiting`` for a product; they were counted up
to the cycle ``since``, and wait for the ``cause`` from then on."""


def new_pipes(shape: Shape) -> NDArray:
    """Return empty pipes, of `PIPE`, shape (clusters,)."""
    pipes = np.zeros(shape.clusters, dtype=PIPE)
    for name in ("context", "kept_context", "stage_context"):
        pipes[name] = NOBODY
    pipes["done"] = NEVER
    pipes["waiting"], pipes["since"] = shape.lanes * shape.groups, 1
    pipes["cause"] = int(Counter.IDLE_MEMORY)
    return pipes


@compiled
def _dispatch(
    pipe: Record,
    lanes: Record,
    idle: NDArray[np.int64],
    empty: NDArray[np.int64],
    owners: NDArray[np.int8],
    lengths: NDArray[np.uint16],
    cluster: int,
    token: tuple[int, int, int],
    depth: int,
    latency: Latencies,
    closed: tuple[int, int],
    clock: NDArray[np.int64],
    now: int,
) -> bool:
    """Hand a token over to a group with room; return whether there was one."""
    number, word, slot = token
    groups = lanes.shape[1]
    closing = closed[0] == cluster or closed[0] == lanes.shape[0]
    if word == END:
        if closing:
            return False
        for group in range(groups):
            if not has_room(lanes, cluster, group, depth, now):
                return False
        pipe.done[number] = accept_end(lanes, cluster, latency.run, now) + latency.done
        clock[0] = min(clock[0], pipe.done[number])
        return True
    owner = owners[word, slot]
    for step in range(groups):
        group = (pipe.turn + step) & (groups - 1)
        if closing and (closed[1] == group or closed[1] == groups):
            continue
        if (owner < 0 or owner == group) and has_room(lanes, cluster, group, depth, now):
            if owner < 0:
                pipe.turn = (group + 1) & (groups - 1)
            place = (cluster, group)
            accept_token(lanes, idle, empty, lengths, place, (word, slot), latency.run, now)
            return True
    return False


@compiled
def _next_word(pipe: Record, reader: Record, contexts: int, oldest: int) -> int:
    """Take the oldest image's first word that waits, if any; return whose it was."""
    for step in range(contexts):
        number = (oldest + step) & (contexts - 1)
        if reader.level[number]:
            head = reader.head[number]
            pipe.word = reader.queued_word[number, head]
            pipe.mask = reader.queued_mask[number, head]
            pipe.slot = 0
            pipe.context = number
            reader.head[number] = (head + 1) & (reader.queued_word.shape[1] - 1)
            reader.level[number] -= 1
            return number
    pipe.context = NOBODY
    return NOBODY


@compiled
def _shift(pipe: Record) -> None:
    """Move the tokens on by a stage and put the word's next survivor into the first one."""
    first = (pipe.first + 1) & (_STAGES - 1)
    pipe.first = first
    pipe.stage_context[first] = pipe.context
    if pipe.context == NOBODY:
        return
    pipe.count += 1
    pipe.stage_word[first] = pipe.word
    mask, slot = pipe.mask, pipe.slot
    if mask:
        while not mask >> slot & 1:
            slot += 1
        pipe.mask = mask & (mask - 1)
    pipe.slot = pipe.stage_slot[first] = slot


@compiled
def step_tokens(
    pipe: Record,
    reader: Record,
    contexts: int,
    lanes: Record,
    idle: NDArray[np.int64],
    empty: NDArray[np.int64],
    owners: NDArray[np.int8],
    lengths: NDArray[np.uint16],
    cluster: int,
    oldest: int,
    depth: int,
    latency: Latencies,
    closed: tuple[int, int],
    clock: NDArray[np.int64],
    now: int,
) -> int:
    """Step a cluster's token builder and dispatcher by a cycle.

    Parameters
    ----------
    pipe : of `PIPE`
    reader : of `jpnet_cosim.cycles.word_reader.READER`
    contexts
        How many.
    lanes, idle, empty
        From `jpnet_cosim.cycles.lane_queues.new_lanes`.
    owners, lengths
        From `jpnet_cosim.cycles.program_tables.ProgramTables`.
    cluster, oldest
        Which one, and the oldest image's context as the cluster knows it.
    depth
        Of the lanes' queues.
    latency, now
        Latencies; the cycle.
    closed
        Cluster and group that take no token in this cycle, their numbers for all of them.
    clock : int64, shape (1,)
        Next cycle in which a context may change; is brought forward.

    Returns
    -------
    int
        Whose word was taken from the queue, or `NOBODY`.
    """
    last = (pipe.first + 1 - latency.stages) & (_STAGES - 1)
    built, buffered = pipe.stage_context[last] != NOBODY, pipe.kept_context != NOBODY
    token = (pipe.stage_context[last], pipe.stage_word[last], pipe.stage_slot[last])
    if buffered:
        token = (pipe.kept_context, pipe.kept_word, pipe.kept_slot)
    goes = False
    if built or buffered:
        goes = _dispatch(
            pipe,
            lanes,
            idle,
            empty,
            owners,
            lengths,
            cluster,
            token,
            depth,
            latency,
            closed,
            clock,
            now,
        )
    pipe.blocked = (built or buffered) and not goes
    if goes:
        pipe.count -= 1
        pipe.kept_context = NOBODY
        if token[1] == END:
            reader.busy[token[0]] = 0
            reader.busy_count -= 1
    elif built and not buffered:
        pipe.kept_context, pipe.kept_word, pipe.kept_slot = token
    steps = not (built and buffered)
    full, more = pipe.context != NOBODY, pipe.mask & (pipe.mask - 1) != 0
    if steps and (built or pipe.count or full):
        _shift(pipe)
    if not full or (steps and not more):
        return _next_word(pipe, reader, contexts, oldest)
    return NOBODY


@compiled
def next_token_time(
    pipe: Record, reader: Record, lanes: Record, cluster: int, stages: int, now: int
) -> int:
    """Return the next cycle in which tokens may move.

    It is the next one but where there is none, or where the first one waits for room.
    """
    if pipe.count == 0 and pipe.context == NOBODY:
        for number in range(len(reader.level)):
            if reader.level[number]:
                return now + 1
        return NEVER
    last = (pipe.first + 1 - stages) & (_STAGES - 1)
    full = pipe.stage_context[last] != NOBODY and pipe.kept_context != NOBODY
    if not full or not pipe.blocked or pipe.context == NOBODY:
        return now + 1
    due = NEVER
    for group in range(lanes.shape[1]):
        due = min(due, lanes[cluster, group, 0].blocked_until)
    return max(due, now + 1)
