"""Images of the cycle model on their way from the bus to the banks."""

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.bus_reads import IMAGES, beat_comes
from jpnet_cosim.cycles.compiled import compiled
from jpnet_cosim.cycles.records import NEVER, NOBODY, Record, record_dtype
from jpnet_cosim.cycles.shape import Shape

__all__ = ["BANK", "LOADER", "new_banks", "new_loader", "request_image", "step_images"]

_BANK_DEPTH = 8
"""Beats that wait in front of a bank."""

_SLICE_DEPTH = 2
"""Beats in the registers between the bus and the queues."""

LOADER = record_dtype(
    numbers="left address context sliced beat beat_context taken taken_context fetching",
    flags="closing room",
)
"""What is known of images that are requested and arrive.

Images that are ``left`` to be requested, the ``address`` of the next one in beats, and its
``context``. How many beats are ``sliced`` between the bus and the queues. The number of the
``beat`` that comes next; the one ``taken`` for the banks, `NOBODY` for none. Whether the last one
was taken (``closing``), whether the queues have ``room`` for another one, and how many contexts'
images are requested and not complete (``fetching``)."""

BANK = record_dtype(numbers="level head filled", fills=(_BANK_DEPTH,))
"""Queue in front of a bank: of each beat the context whose word it completes, or `NOBODY`.

And the one whose word was ``filled`` in the cycle before."""


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
    loader["taken"], loader["room"] = NOBODY, True
    return loader


def new_banks(shape: Shape) -> NDArray:
    """Return empty queues, of `BANK`, shape (clusters,)."""
    banks = np.zeros(shape.clusters, dtype=BANK)
    banks["filled"] = NOBODY
    return banks


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
    free, room, empty = loader.room and not loader.closing, True, True
    for cluster in range(clusters):
        bank = banks[cluster]
        if bank.filled != NOBODY:
            readers[cluster].arrived[bank.filled] += 1
            bank.filled = NOBODY
        empty = empty and bank.level == 0
        room = room and bank.level <= _BANK_DEPTH - 3
    loader.room = room
    if loader.closing and beat == NOBODY and empty:
        loader.closing = False
        loader.fetching -= 1
        contexts[number].fetching = False
        contexts[number].complete = now + 1
        clock[0] = now
        return False
    for cluster in range(clusters):
        bank = banks[cluster]
        if bank.level:
            bank.filled = bank.fills[bank.head]
            bank.head = (bank.head + 1) & (_BANK_DEPTH - 1)
            bank.level -= 1
        if contexts[number].arriving == now:
            readers[cluster].arrived[number] = 0
        if cluster * shape.beat_parts // clusters == part:
            last = beat // shape.beat_parts % shape.word_beats == shape.word_beats - 1
            bank.fills[(bank.head + bank.level) & (_BANK_DEPTH - 1)] = number if last else NOBODY
            bank.level += 1
    loader.taken = NOBODY
    return bool(free)


@compiled
def step_images(
    loader: Record,
    reads: Record,
    banks: Record,
    readers: Record,
    contexts: Record,
    shape: Shape,
    image_beats: int,
    clock: NDArray[np.int64],
    now: int,
) -> bool:
    """Step the loading of images by a cycle; return whether a beat is taken from the bus.

    Parameters
    ----------
    loader : of `LOADER`
    reads : of `jpnet_cosim.cycles.bus_reads.READS`
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
        return False
    free = _fill_banks(loader, banks, readers, contexts, shape, clock, now)
    moves = free and loader.sliced > 0
    comes: bool = beat_comes(reads, IMAGES) and loader.sliced < _SLICE_DEPTH
    loader.sliced += int(comes) - int(moves)
    if moves:
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
    return comes


@compiled
def request_image(loader: Record, reads: Record, contexts: Record, image_beats: int) -> None:
    """Request the next image, once its context is free and the one before was requested."""
    context = contexts[loader.context]
    if loader.left and not context.present and not context.fetching:
        reads.asks[IMAGES] = image_beats
        reads.ask_addresses[IMAGES] = loader.address
        loader.address += image_beats
        loader.left -= 1
        loader.fetching += 1
        context.fetching = True
        loader.context = (loader.context + 1) & (len(contexts) - 1)
