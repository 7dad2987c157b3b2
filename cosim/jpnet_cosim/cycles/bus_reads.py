"""Reads of the cycle model: transfers of images and lists on their way over the bus."""

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.bus_delays import draw_delay
from jpnet_cosim.cycles.compiled import compiled
from jpnet_cosim.cycles.records import NOBODY, Record, record_dtype

__all__ = ["BURST_BEATS", "IMAGES", "LISTS", "READS", "beat_comes", "new_reads", "step_reads"]

IMAGES, LISTS = range(2)
"""Users of the bus, the more urgent first."""

_USERS = 2

BURST_BEATS = 16
"""Bursts end at multiples of it."""

_OUTSTANDING_BEATS = 64
"""Beats that are requested ahead."""

_READER_DEPTH = 15
"""Beats that the reader's queue holds behind its output."""

_MEMORY_BURSTS = 4
"""Bursts that the memory accepts before it has answered the first."""

_TRANSFERS = 8
"""Transfers that may be under way."""

READS = record_dtype(
    numbers="chosen user left transfer_head transfer_count address cutting cut outstanding asked "
    "queued memory_head memory_count request_delay beat_delay",
    flags="ready offered readable",
    asks=(_USERS,),
    ask_addresses=(_USERS,),
    transfer_user=(_TRANSFERS,),
    transfer_beats=(_TRANSFERS,),
    bursts=(_MEMORY_BURSTS,),
    answered=(_MEMORY_BURSTS,),
)
"""Registers between the request of a transfer and its beats.

Beats that each user ``asks`` for, from an address in beats on, 0 where it asks for none; the user
that was ``chosen`` but not served, and the one whose beats come, with so many ``left``, or
`NOBODY`. The transfers behind it. The transfer that is ``cutting`` into bursts, with so many beats,
its ``address`` in beats, and those of the burst that is ``cut``. Beats ``outstanding``, and those
the memory is ``asked`` for. Whether the memory is ``ready`` for a burst and has ``offered`` a beat;
the ``bursts`` that it took and when they are ``answered``, and for how many cycles it delays the
next request and the next beat. Beats ``queued`` behind the reader's
output, and whether that is ``readable``."""


def new_reads() -> NDArray:
    """Return the idle bus, of `READS`, shape (1,)."""
    reads = np.zeros(1, dtype=READS)
    reads["chosen"] = reads["user"] = NOBODY
    reads["ready"] = True
    return reads


@compiled
def beat_comes(reads: Record, user: int) -> bool:
    """Return whether a user is offered a beat in this cycle."""
    comes: bool = reads.readable and reads.user == user
    return comes


@compiled
def _follow_user(reads: Record, taken: bool) -> None:
    """Find out whose beats come next."""
    final = taken and reads.left == 1
    reads.left -= taken
    if final or reads.user == NOBODY:
        reads.user = NOBODY
        if reads.transfer_count:
            head = reads.transfer_head
            reads.user = reads.transfer_user[head]
            reads.left = reads.transfer_beats[head]
            reads.transfer_head = (head + 1) & (_TRANSFERS - 1)
            reads.transfer_count -= 1


@compiled
def _choose(reads: Record, room: bool) -> int:
    """Pass the most urgent transfer on if the reader is free; return whose it is, or `NOBODY`."""
    chosen = reads.chosen
    if chosen == NOBODY:
        for user in range(_USERS - 1, -1, -1):
            if reads.asks[user]:
                chosen = user
    if chosen == NOBODY or not room:
        reads.chosen = NOBODY
        return NOBODY
    if reads.cutting:
        reads.chosen = chosen
        return NOBODY
    reads.chosen = NOBODY
    return int(chosen)


@compiled
def _cut(reads: Record) -> int:
    """Cut the transfer into bursts; return the beats of the burst that is issued, if any."""
    if not reads.cutting:
        return 0
    if not reads.cut:
        reads.cut = min(reads.cutting, BURST_BEATS - reads.address % BURST_BEATS)
        return 0
    channel_free = not reads.asked or reads.ready
    if not channel_free or reads.outstanding > _OUTSTANDING_BEATS - BURST_BEATS:
        return 0
    burst: int = reads.cut
    reads.cut = 0
    reads.address += burst
    reads.cutting -= burst
    return burst


@compiled
def _answer(
    reads: Record, delays: Record, issued: int, comes: bool, latency: int, now: int
) -> None:
    """Let the memory take a burst, and offer a beat in the next cycle."""
    if reads.asked and reads.ready:
        place = (reads.memory_head + reads.memory_count) & (_MEMORY_BURSTS - 1)
        reads.bursts[place] = reads.asked
        reads.answered[place] = now + latency
        reads.memory_count += 1
        reads.asked = 0
        reads.request_delay = draw_delay(delays)
    if issued:
        reads.asked = issued
    reads.ready = reads.memory_count < _MEMORY_BURSTS and reads.request_delay == 0
    reads.request_delay -= reads.request_delay > 0
    if comes:
        reads.offered = False
        reads.beat_delay = draw_delay(delays)
    head = reads.memory_head
    if not reads.offered and reads.memory_count and now >= reads.answered[head]:
        if reads.beat_delay:
            reads.beat_delay -= 1
            return
        reads.offered = True
        reads.bursts[head] -= 1
        if reads.bursts[head] == 0:
            reads.memory_head = (head + 1) & (_MEMORY_BURSTS - 1)
            reads.memory_count -= 1


@compiled
def step_reads(reads: Record, delays: Record, taken: bool, latency: int, now: int) -> int:
    """Step the bus by a cycle; return whose transfer it takes, or `NOBODY`.

    Parameters
    ----------
    reads : of `READS`
    delays : of `jpnet_cosim.cycles.bus_delays.DELAYS`
    taken
        Whether the beat that comes is taken.
    latency
        Cycles of the memory from a request to the first beat.
    now
        The cycle.
    """
    free = taken or not reads.readable
    room = reads.transfer_count < _TRANSFERS
    _follow_user(reads, taken)
    comes = reads.offered and reads.queued < _READER_DEPTH
    moves = reads.queued > 0 and free
    reads.queued += int(comes) - int(moves)
    reads.readable = moves or not free
    user = _choose(reads, room)
    issued = _cut(reads)
    reads.outstanding += issued - int(comes)
    _answer(reads, delays, issued, comes, latency, now)
    if user != NOBODY:
        place = (reads.transfer_head + reads.transfer_count) & (_TRANSFERS - 1)
        reads.transfer_user[place] = user
        reads.transfer_beats[place] = reads.cutting = reads.asks[user]
        reads.transfer_count += 1
        reads.address = reads.ask_addresses[user]
        reads.asks[user] = 0
    return user
