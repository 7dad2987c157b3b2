"""Zero skippers of the cycle model: which word each cluster asks for, and the words that wait."""

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.compiled import compiled
from jpnet_cosim.cycles.records import CONTEXTS, END, NEVER, NOBODY, Record, record_dtype
from jpnet_cosim.cycles.shape import Shape

__all__ = ["READER", "grant_words", "is_waiting", "new_readers", "next_word_time", "read_words"]

_QUEUE_DEPTH = 4
"""Words of one context that may wait."""

_WALKERS = 2
"""Contexts whose convolutions are walked through at a time."""

_WALKER_START = 2
"""Cycles from the choice of a context to its walker's start."""

_FLIGHT = 16
"""More cycles than a word is under way."""

READER = record_dtype(
    numbers="asked_word asked_context kept_word kept_context turn nearest winner busy_count "
    "pending_count flying moving quiet",
    flags="granted",
    word=(CONTEXTS,),
    vector=(CONTEXTS,),
    there=(CONTEXTS,),
    pending=(CONTEXTS,),
    busy=(CONTEXTS,),
    read=(CONTEXTS,),
    arrived=(CONTEXTS,),
    owner=(_WALKERS,),
    offered=(_WALKERS,),
    row=(_WALKERS,),
    row_taken=(_WALKERS,),
    finished=(CONTEXTS,),
    outstanding=(CONTEXTS,),
    room=(CONTEXTS,),
    flight_word=(_FLIGHT,),
    flight_context=(_FLIGHT,),
    level=(CONTEXTS,),
    head=(CONTEXTS,),
    queued_word=(CONTEXTS, _QUEUE_DEPTH),
    queued_count=(CONTEXTS, _QUEUE_DEPTH),
)
"""State of a cluster's reader.

Of each context: the next ``word``; whether a ``vector`` is walked through, its next word is
``there``, a convolution is ``pending`` without a walker, the job's end was not taken (``busy``);
the cycle in which the last word was ``read``; words of the image that have ``arrived``; words asked
for that have not left the queue (``outstanding``), those that left it a cycle ago (``finished``),
and whether there is ``room``. Of each walker its ``owner``, when its next word is ``offered``, its
``row`` and when that was taken. The word that is asked for and one that was not granted (``kept``).
The cluster's bank has a ``turn``, and within a cycle the ``nearest`` request and its ``winner``.
Words in ``flight`` by the cycle of their arrival, and words that wait, with their survivors. How
many contexts are busy and pending, how many words are ``flying``, and whether some have left the
queue in the last cycle (``moving``). Nothing happens before ``quiet`` but where a word is taken."""


def new_readers(shape: Shape) -> NDArray:
    """Return idle readers, of `READER`, shape (clusters,)."""
    readers = np.zeros(shape.clusters, dtype=READER)
    for name in ("asked_context", "kept_context", "owner", "flight_context"):
        readers[name] = NOBODY
    readers["read"] = readers["offered"] = NEVER
    readers["room"] = 1
    return readers


@compiled
def is_waiting(readers: Record, context: Record, number: int, shares: Record) -> bool:
    """Return whether a cluster waits for words of a context's image."""
    for cluster in range(len(readers)):
        reader = readers[cluster]
        if reader.pending[number] and context.limited:
            return True
        left = reader.word[number] < shares[context.job, cluster].end_word
        if reader.vector[number] and left and not reader.there[number]:
            return True
    return False


@compiled
def grant_words(readers: Record, banks: NDArray[np.int64], held: bool) -> None:
    """Let each bank serve one of those that ask for its words, unless the result's reader does."""
    clusters = len(readers)
    for cluster in range(clusters):
        readers[cluster].granted = False
        readers[cluster].nearest = clusters
    if held:
        return
    for cluster in range(clusters):
        reader = readers[cluster]
        word, context = reader.asked_word, reader.asked_context
        if reader.kept_context != NOBODY:
            word, context = reader.kept_word, reader.kept_context
        if context != NOBODY and word != END:
            bank = readers[banks[word]]
            distance = (cluster - bank.turn) & (clusters - 1)
            if distance < bank.nearest:
                bank.nearest, bank.winner = distance, cluster
    for cluster in range(clusters):
        bank = readers[cluster]
        if bank.nearest < clusters:
            readers[bank.winner].granted = True
            bank.turn = (bank.winner + 1) & (clusters - 1)


@compiled
def _start(
    reader: Record,
    contexts: Record,
    instructions: Record,
    shares: Record,
    cluster: int,
    now: int,
) -> None:
    """Begin the jobs whose start is now."""
    for number in range(len(contexts)):
        context = contexts[number]
        if context.start == now:
            convolution = int(instructions[context.job].convolution)
            reader.word[number] = shares[context.job, cluster].first_word
            reader.pending[number] = convolution
            reader.pending_count += convolution
            reader.vector[number] = 1 - convolution
            reader.busy[number] = 1
            reader.busy_count += 1


@compiled
def _follow_images(
    reader: Record, contexts: Record, shares: Record, cluster: int, now: int
) -> None:
    """Find out, for the next cycle, whether the next word of each vector is in the bank."""
    for number in range(len(contexts)):
        context = contexts[number]
        there = not context.limited
        if not there and context.start != now:
            index = reader.word[number] - shares[context.job, cluster].first_word
            there = index + 1 < reader.arrived[number]
        reader.there[number] = int(there)


@compiled
def _give_walker(
    reader: Record,
    contexts: Record,
    shares: Record,
    delays: NDArray[np.int64],
    cluster: int,
    oldest: int,
    now: int,
) -> None:
    """Give a free walker to the oldest image whose convolution waits for one."""
    for walker in range(len(reader.owner)):
        if walker < len(contexts) and reader.owner[walker] == NOBODY:
            for step in range(len(contexts)):
                number = (oldest + step) & (len(contexts) - 1)
                if reader.pending[number] and not contexts[number].limited:
                    reader.pending[number] = 0
                    reader.pending_count -= 1
                    row = shares[contexts[number].job, cluster].first_row
                    taken = now + _WALKER_START + delays[row]
                    reader.owner[walker] = number
                    reader.row[walker] = row
                    reader.row_taken[walker] = taken
                    reader.offered[walker] = taken + 1
                    return
            return


@compiled
def _walk(
    reader: Record,
    end_word: int,
    row_last: NDArray[np.bool_],
    delays: NDArray[np.int64],
    number: int,
    walker: int,
    now: int,
) -> int:
    """Take a context's next word, or its end; return it."""
    word: int = reader.word[number]
    if word == end_word:
        reader.vector[number] = 0
        if walker != NOBODY:
            reader.owner[walker] = NOBODY
            reader.offered[walker] = NEVER
        return END
    reader.word[number] = word + 1
    if walker != NOBODY:
        reader.offered[walker] = now + 1
        if row_last[word]:
            row = reader.row[walker] + 1
            taken = max(now, reader.row_taken[walker] + delays[row])
            reader.row[walker] = row
            reader.row_taken[walker] = taken
            reader.offered[walker] = taken + 1
    return word


@compiled
def _choose(
    reader: Record, contexts: Record, shares: Record, cluster: int, oldest: int, now: int
) -> tuple[int, int]:
    """Return whose word is asked for, and its walker."""
    for step in range(len(contexts)):
        number = (oldest + step) & (len(contexts) - 1)
        if not reader.room[number]:
            continue
        if reader.vector[number]:
            end_word = shares[contexts[number].job, cluster].end_word
            if reader.there[number] or reader.word[number] == end_word:
                return number, NOBODY
            continue
        for walker in range(len(reader.owner)):
            if reader.owner[walker] == number and reader.offered[walker] <= now:
                return number, walker
    return NOBODY, NOBODY


@compiled
def _arrive(
    reader: Record,
    contexts: Record,
    places: NDArray[np.int32],
    kept: NDArray[np.bool_],
    now: int,
) -> int:
    """Queue the word that arrives; return whose word was dropped instead."""
    number: int = reader.flight_context[now & (_FLIGHT - 1)]
    if number == NOBODY:
        return NOBODY
    reader.flight_context[now & (_FLIGHT - 1)] = NOBODY
    reader.flying -= 1
    word, count = reader.flight_word[now & (_FLIGHT - 1)], 0
    if word != END:
        image = contexts[number].image
        for slot in range(places.shape[1]):
            place = places[word, slot]
            count += place >= 0 and kept[image, place]
        if count == 0:
            return number
    entry = (reader.head[number] + reader.level[number]) & (_QUEUE_DEPTH - 1)
    reader.queued_word[number, entry] = word
    reader.queued_count[number, entry] = count
    reader.level[number] += 1
    return NOBODY


@compiled
def _ask(reader: Record, clock: NDArray[np.int64], word_cycles: int, now: int) -> bool:
    """Send what is asked for on its way, or keep it; return whether something else may be asked."""
    buffered = reader.kept_context != NOBODY
    word, number = reader.asked_word, reader.asked_context
    free = number == NOBODY or not buffered
    if buffered:
        word, number = reader.kept_word, reader.kept_context
    if number == NOBODY:
        return True
    if word == END or reader.granted:
        arrival = now + word_cycles
        reader.flight_word[arrival & (_FLIGHT - 1)] = word
        reader.flight_context[arrival & (_FLIGHT - 1)] = number
        reader.flying += 1
        reader.kept_context = NOBODY
        if word == END:
            reader.read[number] = arrival
            clock[0] = min(clock[0], arrival)
    elif not buffered:
        reader.kept_word, reader.kept_context = word, number
    return free


@compiled
def read_words(
    reader: Record,
    contexts: Record,
    instructions: Record,
    shares: Record,
    delays: NDArray[np.int64],
    row_last: NDArray[np.bool_],
    places: NDArray[np.int32],
    kept: NDArray[np.bool_],
    cluster: int,
    oldest: int,
    taken: int,
    clock: NDArray[np.int64],
    watched: bool,
    word_cycles: int,
    now: int,
) -> None:
    """Step a cluster's reader by a cycle.

    Parameters
    ----------
    reader : of `READER`
    contexts : of `jpnet_cosim.cycles.contexts.CONTEXT`, shape (contexts,)
    instructions, shares, delays, row_last, places
        From `jpnet_cosim.cycles.program_tables.ProgramTables`.
    kept : bool, shape (images, elements)
        Survivors.
    cluster, oldest
        Which one, and the oldest image's context as the cluster knows it.
    taken
        Whose word left the queue in this cycle, or `NOBODY`.
    clock : int64, shape (1,)
        Next cycle in which a context may change; is brought forward.
    watched
        Whether a job starts or an image is on its way.
    word_cycles, now
        Cycles that a word is under way; the cycle.
    """
    dropped = NOBODY
    if reader.flying:
        dropped = _arrive(reader, contexts, places, kept, now)
    chosen, walker = NOBODY, NOBODY
    if reader.asked_context == NOBODY or reader.kept_context == NOBODY:
        chosen, walker = _choose(reader, contexts, shares, cluster, oldest, now)
    free = _ask(reader, clock, word_cycles, now)
    if reader.pending_count:
        _give_walker(reader, contexts, shares, delays, cluster, oldest, now)
    if watched:
        _follow_images(reader, contexts, shares, cluster, now)
    if free:
        reader.asked_context = chosen
        if chosen != NOBODY:
            end_word = shares[contexts[chosen].job, cluster].end_word
            reader.asked_word = _walk(reader, end_word, row_last, delays, chosen, walker, now)
    leaves = taken != NOBODY or dropped != NOBODY
    if reader.moving or leaves or chosen != NOBODY:
        for number in range(len(contexts)):
            following = reader.outstanding[number] - reader.finished[number] + (number == chosen)
            reader.outstanding[number] = following
            reader.room[number] = following != _QUEUE_DEPTH
            reader.finished[number] = (number == taken) + (number == dropped)
    reader.moving = leaves
    if watched:
        _start(reader, contexts, instructions, shares, cluster, now)


@compiled
def next_word_time(reader: Record, now: int) -> int:
    """Return the next cycle in which a reader may do something, unless a job starts.

    It is the next one but where the reader only waits for room in its queue.
    """
    if reader.flying or reader.moving:
        return now + 1
    if reader.asked_context != NOBODY or reader.kept_context != NOBODY:
        return now + 1
    due = NEVER
    for walker in range(len(reader.owner)):
        if reader.owner[walker] == NOBODY:
            if reader.pending_count:
                return now + 1
        elif reader.offered[walker] > now or reader.room[reader.owner[walker]]:
            due = min(due, max(now + 1, reader.offered[walker]))
    for number in range(len(reader.vector)):
        if reader.vector[number] and reader.room[number]:
            return now + 1
    return due
