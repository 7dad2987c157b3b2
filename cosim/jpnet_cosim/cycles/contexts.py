"""Images in flight of the cycle model: their instructions and the drain that they share."""

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.compiled import compiled
from jpnet_cosim.cycles.latencies import Latencies
from jpnet_cosim.cycles.records import NEVER, Record, record_dtype
from jpnet_cosim.cycles.shape import Shape
from jpnet_cosim.cycles.word_reader import is_waiting

__all__ = [
    "CONTEXT",
    "DRAIN",
    "activity",
    "adds_row",
    "is_watched",
    "new_contexts",
    "new_drain",
    "step_contexts",
]

_WATCHED = 4
"""Cycles after an image's arrival in which its readers still take notice."""

_IDLE, _COMPUTE, _DRAIN, _FETCH, _RESULT = range(5)

CONTEXT = record_dtype(
    numbers="state job following image start fetched prepared arriving complete received written "
    "drained watched",
    flags="limited present freed valid fetching draining",
)
"""State of a context.

Its ``state``; the number of the instruction that runs (``job``) and of the ``following`` one;
its ``image``. Cycles: of the skippers' ``start``; in which the next instruction is checked
(``fetched``) and from which it may begin (``prepared``); in which the image's first beat is told
(``arriving``) and from which it is ``complete``; in which its result was ``received``; from which
only the threshold is missing (``written``) and of the drain's end (``drained``); until which the
readers must be ``watched``, because a job starts or waits for its image. Flags: the job reads an
image that is on its way (``limited``); the image's place is taken (``present``), was ``freed``
since the image began, was requested (``fetching``); the result is ``valid``; the drain has taken
the job (``draining``)."""


_JOBS = 8
"""Jobs of the drain whose additions may be under way."""

DRAIN = record_dtype(numbers="free apart head count", first=(_JOBS,), last=(_JOBS,), pace=(_JOBS,))
"""State of the drain.

The cycle from which it takes another job (``free``), and the one after which counted jobs must be
``apart``. Of jobs that add a tensor the ``first`` and the ``last`` cycle in which a row of it is
read, one in as many cycles as the ``pace`` tells."""


def new_drain() -> NDArray:
    """Return the idle drain, of `DRAIN`, shape (1,)."""
    return np.zeros(1, dtype=DRAIN)


def new_contexts(shape: Shape, latency: Latencies) -> NDArray:
    """Return the contexts at the start of a run, of `CONTEXT`, shape (contexts,)."""
    contexts = np.zeros(shape.contexts, dtype=CONTEXT)
    for name in ("start", "arriving", "complete", "received", "written", "drained"):
        contexts[name] = NEVER
    contexts["image"] = np.arange(shape.contexts)
    contexts["fetched"], contexts["prepared"] = latency.first_fetch, latency.first_fetch + 1
    return contexts


@compiled
def is_watched(contexts: Record, now: int) -> bool:
    """Return whether a job starts or an image that is read was on its way two cycles ago."""
    for number in range(len(contexts)):
        context = contexts[number]
        if now <= context.watched:
            return True
    return False


@compiled
def activity(contexts: Record, readers: Record, shares: Record, now: int) -> tuple[int, bool, bool]:
    """Return which contexts compute, one bit each; whether some drain, and wait for a threshold."""
    computing, drains, waits = 0, False, False
    for number in range(len(contexts)):
        context = contexts[number]
        if context.state == _COMPUTE:
            computes = context.job > 0 or not is_waiting(readers, context, number, shares)
            computing |= int(computes) << number
        elif context.state == _DRAIN:
            drains = drains or now < context.written
            waits = waits or now >= context.written
    return computing, drains, waits


@compiled
def _begin(
    context: Record,
    number: int,
    readers: Record,
    pipes: Record,
    instructions: int,
    fetch_cycles: int,
    now: int,
) -> None:
    """Begin a context's next instruction."""
    context.job = context.following
    context.following = (context.following + 1) % instructions
    context.state = _COMPUTE
    context.start = now + 1
    context.fetched = now + fetch_cycles
    context.prepared = NEVER
    context.limited = context.job == 0 and now + 1 < context.complete
    # A vector's first word waits for a cycle if the image is complete only as the job starts.
    context.watched = NEVER if context.limited else context.start + 1
    for cluster in range(len(pipes)):
        pipes[cluster].done[number] = NEVER
        readers[cluster].read[number] = NEVER


@compiled
def _is_summed(pipes: Record, number: int, now: int) -> bool:
    """Return whether all clusters have summed all products of a context's job."""
    for cluster in range(len(pipes)):
        if pipes[cluster].done[number] > now:
            return False
    return True


@compiled
def _is_read(readers: Record, number: int, now: int) -> bool:
    """Return whether the job's last word was read a cycle ago."""
    last = 0
    for cluster in range(len(readers)):
        last = max(last, readers[cluster].read[number])
    return last == now


@compiled
def _drain(
    contexts: Record, instructions: Record, drain: Record, oldest: int, latency: Latencies, now: int
) -> int:
    """Let the drain take the oldest image's job; return when it may take the next one."""
    if now < drain.free:
        return int(drain.free)
    for step in range(len(contexts)):
        context = contexts[(oldest + step) & (len(contexts) - 1)]
        if context.state == _DRAIN and not context.draining:
            instruction = instructions[context.job]
            able = drain.apart + instruction.pause
            if now < able:
                return int(able)
            last = now + instruction.steps
            drain.free = last + instruction.rest
            drain.apart = last + instruction.apart
            context.draining = True
            context.written = last + instruction.written
            context.drained = last + instruction.tail
            if instruction.added:
                place = (drain.head + drain.count) & (_JOBS - 1)
                drain.first[place] = now + latency.added
                drain.last[place] = now + latency.added + (instruction.added - 1) * instruction.pace
                drain.pace[place] = instruction.pace
                drain.count += 1
            return int(drain.free)
    return NEVER


@compiled
def adds_row(drain: Record, now: int) -> bool:
    """Return whether a row of a tensor that is added is read."""
    head = drain.head
    if not drain.count or now < drain.first[head]:
        return False
    reads: bool = (now - drain.first[head]) % drain.pace[head] == 0
    if now == drain.last[head]:
        drain.head = (head + 1) & (_JOBS - 1)
        drain.count -= 1
    return reads


@compiled
def step_contexts(
    contexts: Record,
    readers: Record,
    pipes: Record,
    stream: Record,
    instructions: Record,
    drain: Record,
    ends: NDArray[np.int64],
    clock: NDArray[np.int64],
    oldest: int,
    latency: Latencies,
    now: int,
) -> tuple[bool, int]:
    """Step all contexts and the drain by a cycle.

    Parameters
    ----------
    contexts : of `CONTEXT`, shape (contexts,)
    readers : of `jpnet_cosim.cycles.word_reader.READER`, shape (clusters,)
    pipes : of `jpnet_cosim.cycles.token_pipe.PIPE`, shape (clusters,)
    stream : of `jpnet_cosim.cycles.list_stream.STREAM`
    instructions
        From `jpnet_cosim.cycles.program_tables.ProgramTables`.
    drain : of `DRAIN`
    ends : int64, shape (images, instructions)
        Cycle in which each instruction ends; is filled.
    clock : int64, shape (1,)
        Is set to the next cycle in which a context may change.
    oldest
        The oldest image's context.
    latency, now
        Latencies; the cycle.

    Returns
    -------
    released : bool
        A result was received.
    finished : int
        Contexts that have used a block of lists up, one bit each.
    """
    released, stirred, finished = False, False, 0
    for number in range(len(contexts)):
        context = contexts[number]
        able, begins = context.prepared <= now and stream.ready[number] != 0, False
        if context.state == _IDLE:
            begins = able and context.present
        elif context.state == _COMPUTE:
            if _is_summed(pipes, number, now):
                kept = instructions[context.job].keeps_sums
                context.state = _FETCH if kept else _DRAIN
                ends[context.image, context.job] = now
                finished |= int(instructions[context.job].ends_block) << number
                context.prepared = max(context.fetched, now + 1) + 1
        elif context.state == _DRAIN:
            if context.drained == now:
                ends[context.image, context.job] = now
                context.draining = False
                context.drained = context.written = NEVER
                context.valid = context.job == len(instructions) - 1
                begins = able and not context.valid
                context.state = _RESULT if context.valid else _FETCH
        elif context.state == _FETCH:
            begins = able
        elif context.received == now:
            context.state = _IDLE
            context.valid = False
            context.present = context.present and context.freed
            context.freed = False
            context.image += len(contexts)
            released = True
        if instructions[context.job].frees_image and _is_read(readers, number, now):
            context.present, context.freed = False, True
        if context.arriving == now:
            context.present, stirred = True, True
        if begins:
            _begin(context, number, readers, pipes, len(instructions), latency.fetch, now)
        elif context.limited and now + 1 >= context.complete:
            context.limited = False
            context.watched = now + _WATCHED
    due = _drain(contexts, instructions, drain, oldest, latency, now)
    clock[0] = now + 1 if released or stirred else due
    for number in range(len(contexts)):
        clock[0] = min(clock[0], _next_time(contexts[number], pipes, readers, number, now))
    return released, finished


@compiled
def _next_time(context: Record, pipes: Record, readers: Record, number: int, now: int) -> int:
    """Return the next cycle in which something that is known today happens to a context."""
    due, summed, read = NEVER, 0, 0
    for cluster in range(len(pipes)):
        summed = max(summed, pipes[cluster].done[number])
        read = max(read, readers[cluster].read[number])
    for time in (
        *(context.start, context.prepared, context.arriving, context.complete),
        *(context.received, context.written, context.drained, summed, read),
    ):
        if time > now:
            due = min(due, time)
    return due
