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
"""More words than can be under way; a power of two."""

READER = record_dtype(
    numbers="asked_word asked_context kept_word kept_context turn nearest winner busy_count "
    "pending_count walker_count taken dropped finished flight_head flight_count quiet",
    flags="granted",
    word=(CONTEXTS,),
    vector=(CONTEXTS,),
    there=(CONTEXTS,),
    following=(CONTEXTS,),
    pending=(CONTEXTS,),
    busy=(CONTEXTS,),
    read=(CONTEXTS,),
    arrived=(CONTEXTS,),
    offered=(CONTEXTS,),
    row=(CONTEXTS,),
    row_kept=(CONTEXTS,),
    row_taken=(CONTEXTS,),
    row_before=(CONTEXTS,),
    outstanding=(CONTEXTS,),
    flight_word=(_FLIGHT,),
    flight_context=(_FLIGHT,),
    flight_arrival=(_FLIGHT,),
    level=(CONTEXTS,),
    head=(CONTEXTS,),
    queued_word=(CONTEXTS, _QUEUE_DEPTH),
    queued_mask=(CONTEXTS, _QUEUE_DEPTH),
)
"""State of a cluster's reader.

Of each context: the next ``word``; whether a ``vector`` is walked through, its next word is
``there``, and will be a cycle later (``following``), a convolution is ``pending`` without a walker,
the job's end was not taken (``busy``); the cycle in which the last word was ``read``; words of the
image that have ``arrived``; words asked for that have not left the queue (``outstanding``), but
that a word has left is noticed two cycles later. When its next word is ``offered``, `NEVER` where
none is; of a convolution with a walker the ``row``, and when it came into the buffer between the
walks (``row_kept``) and was taken. The word that is asked for and one that was not granted
(``kept``). The cluster's bank has a ``turn``, and within a cycle the ``nearest`` request and its
``winner``. Words in ``flight``, and words that wait, with the slots of their survivors, one bit
each. How many contexts are busy and pending, how many have a walker, and whose words were ``taken``
and ``dropped`` in the cycle in which some ``finished``. Nothing happens before ``quiet`` but where
a word is taken."""


def new_readers(shape: Shape) -> NDArray:
    """Return idle readers, of `READER`, shape (clusters,)."""
    readers = np.zeros(shape.clusters, dtype=READER)
    for name in ("asked_context", "kept_context", "taken", "dropped"):
        readers[name] = NOBODY
    readers["read"] = readers["offered"] = NEVER
    return readers


@compiled
def is_waiting(readers: Record, context: Record, number: int, shares: Record) -> bool:
    """Return whether a cluster waits for words of a context's image."""
    for cluster in range(len(readers)):
        reader = readers[cluster]
        if reader.pending[number] and context.limited:
            return True
        left = reader.word[number] < shares[context.job, number, cluster].end_word
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
            reader.word[number] = shares[context.job, number, cluster].first_word
            reader.pending[number] = convolution
            reader.pending_count += convolution
            reader.vector[number] = 1 - convolution
            reader.offered[number] = NEVER
            reader.busy[number] = 1
            reader.busy_count += 1


@compiled
def _follow_images(
    reader: Record, contexts: Record, shares: Record, cluster: int, now: int
) -> None:
    """Find out, for the next cycle, whether the next word of each vector is in the bank.

    The end of one is always there.
    """
    for number in range(len(contexts)):
        context = contexts[number]
        following = not context.limited
        reader.there[number] = reader.following[number]
        if context.start == now:
            reader.there[number] = int(following)
        elif not following:
            index = reader.word[number] - shares[context.job, number, cluster].first_word
            following = index + 2 < reader.arrived[number]
        reader.following[number] = int(following)


@compiled
def _offer_vectors(
    reader: Record, contexts: Record, shares: Record, cluster: int, now: int
) -> None:
    """Offer the words of vectors that are there."""
    for number in range(len(contexts)):
        context = contexts[number]
        if reader.vector[number]:
            offers = reader.word[number] == shares[context.job, number, cluster].end_word
            is_late = context.start == now and context.job == 0 and context.complete == now
            offers = offers or (reader.there[number] != 0 and not is_late)
            reader.offered[number] = now + 1 if offers else NEVER


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
    if reader.walker_count == min(_WALKERS, len(contexts)):
        return
    for step in range(len(contexts)):
        number = (oldest + step) & (len(contexts) - 1)
        if reader.pending[number] and not contexts[number].limited:
            reader.pending[number] = 0
            reader.pending_count -= 1
            row = shares[contexts[number].job, number, cluster].first_row
            kept = now + _WALKER_START + delays[row]
            reader.walker_count += 1
            reader.row[number] = row
            reader.row_kept[number] = kept
            reader.row_taken[number] = kept + 1
            reader.row_before[number] = kept
            reader.offered[number] = kept + 2
            return


@compiled
def _walk(
    reader: Record,
    end_word: int,
    row_last: NDArray[np.bool_],
    delays: NDArray[np.int64],
    number: int,
    now: int,
) -> int:
    """Take a context's next word, or its end; return it."""
    word: int = reader.word[number]
    if word == end_word:
        reader.walker_count -= 1 - reader.vector[number]
        reader.vector[number] = 0
        reader.offered[number] = NEVER
        return END
    reader.word[number] = word + 1
    if not reader.vector[number] and row_last[word]:
        row = reader.row[number] + 1
        # Between the walks there is room for two rows.
        kept = max(reader.row_kept[number] + delays[row], reader.row_before[number] + 1)
        taken = max(now, kept + 1)
        reader.row[number] = row
        reader.row_kept[number] = kept
        reader.row_before[number] = reader.row_taken[number]
        reader.row_taken[number] = taken
        reader.offered[number] = taken + 1
    return word


@compiled
def _choose(reader: Record, contexts: int, oldest: int, now: int) -> int:
    """Return whose word is asked for."""
    for step in range(contexts):
        number = (oldest + step) & (contexts - 1)
        if reader.offered[number] <= now and reader.outstanding[number] != _QUEUE_DEPTH:
            return number
    return NOBODY


@compiled
def _arrive(reader: Record, contexts: Record, masks: NDArray[np.int64]) -> int:
    """Queue the word that arrives; return whose word was dropped instead."""
    place = reader.flight_head
    number: int = reader.flight_context[place]
    word, mask = reader.flight_word[place], 0
    reader.flight_head = (place + 1) & (_FLIGHT - 1)
    reader.flight_count -= 1
    if word != END:
        mask = masks[contexts[number].image, word]
        if mask == 0:
            return number
    entry = (reader.head[number] + reader.level[number]) & (_QUEUE_DEPTH - 1)
    reader.queued_word[number, entry] = word
    reader.queued_mask[number, entry] = mask
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
        place = (reader.flight_head + reader.flight_count) & (_FLIGHT - 1)
        reader.flight_word[place] = word
        reader.flight_context[place] = number
        reader.flight_arrival[place] = arrival
        reader.flight_count += 1
        reader.kept_context = NOBODY
        if word == END:
            reader.read[number] = arrival
            clock[0] = min(clock[0], arrival)
    elif not buffered:
        reader.kept_word, reader.kept_context = word, number
    return free


@compiled
def _notice(reader: Record) -> None:
    """Give the words that have left the queue their room back."""
    if reader.taken != NOBODY:
        reader.outstanding[reader.taken] -= 1
        reader.taken = NOBODY
    if reader.dropped != NOBODY:
        reader.outstanding[reader.dropped] -= 1
        reader.dropped = NOBODY


@compiled
def read_words(
    reader: Record,
    contexts: Record,
    instructions: Record,
    shares: Record,
    delays: NDArray[np.int64],
    row_last: NDArray[np.bool_],
    masks: NDArray[np.int64],
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
    instructions, shares, delays, row_last
        From `jpnet_cosim.cycles.program_tables.ProgramTables`.
    masks : int64, shape (images, words)
        Slots of survivors, one bit each.
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
    if reader.finished < now - 1:
        _notice(reader)
    dropped = NOBODY
    if reader.flight_count and reader.flight_arrival[reader.flight_head] == now:
        dropped = _arrive(reader, contexts, masks)
    chosen = NOBODY
    if reader.asked_context == NOBODY or reader.kept_context == NOBODY:
        chosen = _choose(reader, len(contexts), oldest, now)
    free = _ask(reader, clock, word_cycles, now)
    if reader.pending_count:
        _give_walker(reader, contexts, shares, delays, cluster, oldest, now)
    if watched:
        _follow_images(reader, contexts, shares, cluster, now)
    if free:
        reader.asked_context = chosen
        if chosen != NOBODY:
            end_word = shares[contexts[chosen].job, chosen, cluster].end_word
            reader.asked_word = _walk(reader, end_word, row_last, delays, chosen, now)
            reader.outstanding[chosen] += 1
    _notice(reader)
    if taken != NOBODY or dropped != NOBODY:
        reader.taken, reader.dropped, reader.finished = taken, dropped, now
    if watched:
        _start(reader, contexts, instructions, shares, cluster, now)
        _offer_vectors(reader, contexts, shares, cluster, now)


@compiled
def next_word_time(reader: Record, contexts: int, now: int) -> int:
    """Return the next cycle in which a reader may do something, unless a job starts."""
    if reader.asked_context != NOBODY or reader.kept_context != NOBODY or reader.pending_count:
        return now + 1
    due = NEVER
    if reader.flight_count:
        due = reader.flight_arrival[reader.flight_head]
    if reader.taken != NOBODY or reader.dropped != NOBODY:
        due = min(due, now + 2)
    for number in range(contexts):
        if reader.outstanding[number] != _QUEUE_DEPTH:
            due = min(due, max(now + 1, reader.offered[number]))
    return due
