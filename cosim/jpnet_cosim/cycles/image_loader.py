"""Images of the cycle model on their way from memory to the banks."""

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.compiled import compiled
from jpnet_cosim.cycles.records import NEVER, NOBODY, Record, record_dtype
from jpnet_cosim.cycles.shape import Shape

__all__ = ["BANK", "LOADER", "new_banks", "new_loader", "step_images"]

_OUTSTANDING_BEATS = 64
"""Beats that are requested ahead."""

_READER_DEPTH = 15
"""Beats that the reader's queue holds behind its output."""

_BANK_DEPTH = 4
"""Beats that wait in front of a bank."""

_MEMORY_BURSTS = 4
"""Bursts that the memory accepts before it has answered the first."""

_BURST_BEATS = 16
"""Bursts end at multiples of it."""

LOADER = record_dtype(
    numbers="left context requested address cutting cut outstanding asked queued beat beat_context "
    "taken taken_context fetching memory_head memory_count",
    flags="ready offered readable closing",
    bursts=(_MEMORY_BURSTS,),
    answered=(_MEMORY_BURSTS,),
)
"""Registers between the request of an image and its beats.

Images that are ``left`` to be requested, and the next one's ``context``; beats of the transfer that
is ``requested`` and of the one in ``cutting``, its ``address`` in beats, and those of the burst
that is ``cut``; beats ``outstanding``, and those the memory is ``asked`` for. Whether the memory is
``ready`` for a burst and has ``offered`` a beat; the ``bursts`` that it took and when they are
``answered``. Beats ``queued`` behind the reader's output, and whether that is ``readable``. The
number of the ``beat`` that comes next; the one ``taken`` for the banks, `NOBODY` for none. Whether
the last one was taken (``closing``), and how many contexts' images are requested and not complete
(``fetching``)."""

BANK = record_dtype(numbers="level head", fills=(_BANK_DEPTH,))
"""Queue in front of a bank: of each beat the context whose word it completes, or `NOBODY`."""


def new_loader(*, images: int, first_beat: int) -> NDArray:
    """Return the loader of a run, of `LOADER`, shape (1,).

    Parameters
    ----------
    images
        Of the run.
    first_beat
        Address of the first image in beats.
    """
    loader = np.zeros(1, dtype=LOADER)
    loader["left"], loader["address"] = images, first_beat
    loader["ready"], loader["taken"] = True, NOBODY
    return loader


def new_banks(shape: Shape) -> NDArray:
    """Return empty queues, of `BANK`, shape (clusters,)."""
    return np.zeros(shape.clusters, dtype=BANK)


@compiled
def _request(loader: Record, contexts: Record, image_beats: int, cutter_free: bool) -> None:
    """Request the next image once its context is free."""
    if loader.requested:
        if cutter_free:
            loader.cutting, loader.requested = loader.requested, 0
        return
    context = contexts[loader.context]
    if loader.left and not context.present and not context.fetching:
        loader.requested = image_beats
        loader.left -= 1
        loader.fetching += 1
        context.fetching = True
        loader.context = (loader.context + 1) & (len(contexts) - 1)


@compiled
def _cut(loader: Record) -> int:
    """Cut the transfer into bursts; return the beats of the burst that is issued, if any."""
    if not loader.cutting:
        return 0
    if not loader.cut:
        loader.cut = min(loader.cutting, _BURST_BEATS - loader.address % _BURST_BEATS)
        return 0
    channel_free = not loader.asked or loader.ready
    if not channel_free or loader.outstanding > _OUTSTANDING_BEATS - _BURST_BEATS:
        return 0
    burst: int = loader.cut
    loader.cut = 0
    loader.address += burst
    loader.cutting -= burst
    return burst


@compiled
def _answer(loader: Record, issued: int, comes: bool, latency: int, now: int) -> None:
    """Let the memory take a burst, and offer a beat in the next cycle."""
    if loader.asked and loader.ready:
        place = (loader.memory_head + loader.memory_count) & (_MEMORY_BURSTS - 1)
        loader.bursts[place] = loader.asked
        loader.answered[place] = now + latency
        loader.memory_count += 1
        loader.asked = 0
    if issued:
        loader.asked = issued
    loader.ready = loader.memory_count < _MEMORY_BURSTS
    if comes:
        loader.offered = False
    head = loader.memory_head
    if not loader.offered and loader.memory_count and now >= loader.answered[head]:
        loader.offered = True
        loader.bursts[head] -= 1
        if loader.bursts[head] == 0:
            loader.memory_head = (head + 1) & (_MEMORY_BURSTS - 1)
            loader.memory_count -= 1


@compiled
def _fill_banks(
    loader: Record,
    banks: Record,
    readers: Record,
    contexts: Record,
    shape: Shape,
    clock: NDArray[np.int64],
    now: int,
) -> bool:
    """Write beats to the banks and give them the one that came; return whether one may come."""
    clusters, beat, number = len(banks), loader.taken, loader.taken_context
    part = -1 if beat == NOBODY else beat % shape.beat_parts
    taken, empty = True, True
    for cluster in range(clusters):
        level = banks[cluster].level
        empty = empty and level == 0
        if cluster * shape.beat_parts // clusters == part and level == _BANK_DEPTH:
            taken = False
    if loader.closing and beat == NOBODY and empty:
        loader.closing = False
        loader.fetching -= 1
        contexts[number].fetching = False
        contexts[number].complete = now + 1
        clock[0] = now
        return False
    free = taken and not loader.closing
    for cluster in range(clusters):
        bank = banks[cluster]
        if bank.level:
            filled = bank.fills[bank.head]
            bank.head = (bank.head + 1) & (_BANK_DEPTH - 1)
            bank.level -= 1
            if filled != NOBODY:
                readers[cluster].arrived[filled] += 1
        if contexts[number].arriving == now:
            readers[cluster].arrived[number] = 0
        if taken and cluster * shape.beat_parts // clusters == part:
            last = beat // shape.beat_parts % shape.word_beats == shape.word_beats - 1
            bank.fills[(bank.head + bank.level) & (_BANK_DEPTH - 1)] = number if last else NOBODY
            bank.level += 1
    if taken:
        loader.taken = NOBODY
    return free


@compiled
def step_images(
    loader: Record,
    banks: Record,
    readers: Record,
    contexts: Record,
    shape: Shape,
    image_beats: int,
    clock: NDArray[np.int64],
    now: int,
) -> None:
    """Step the loading of images by a cycle.

    Parameters
    ----------
    loader : of `LOADER`
    banks : of `BANK`, shape (clusters,)
    readers : of `jpnet_cosim.cycles.word_reader.READER`, shape (clusters,)
    contexts : of `jpnet_cosim.cycles.contexts.CONTEXT`, shape (contexts,)
    shape
        Of the accelerator.
    image_beats
        Beats of an image.
    clock : int64, shape (1,)
        Next cycle in which a context may change; is brought forward.
    now
        The cycle.
    """
    if not loader.fetching:
        _request(loader, contexts, image_beats, True)
        return
    cutter_free = loader.cutting == 0
    free = _fill_banks(loader, banks, readers, contexts, shape, clock, now)
    if free and loader.readable:
        number = loader.beat_context
        loader.taken, loader.taken_context = loader.beat, number
        if loader.beat == 0:
            contexts[number].arriving = now + 1
            clock[0] = now
            contexts[number].complete = NEVER
        loader.beat += 1
        if loader.beat == image_beats:
            loader.closing = True
            loader.beat = 0
            loader.beat_context = (number + 1) & (len(contexts) - 1)
    comes = loader.offered and loader.queued < _READER_DEPTH
    moves = loader.queued > 0 and (not loader.readable or free)
    loader.queued += int(comes) - int(moves)
    loader.readable = moves or (loader.readable and not free)
    issued = _cut(loader)
    loader.outstanding += issued - int(comes)
    _answer(loader, issued, comes, shape.memory_latency, now)
    _request(loader, contexts, image_beats, cutter_free)
