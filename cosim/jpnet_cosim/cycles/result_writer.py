"""Results of the cycle model on their way to memory."""

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.bus_delays import draw_delay
from jpnet_cosim.cycles.compiled import compiled
from jpnet_cosim.cycles.records import Record, record_dtype
from jpnet_cosim.cycles.shape import Shape

__all__ = ["WRITER", "new_writer", "step_results"]

_WAIT, _REQUEST, _READ, _SEND, _ANSWER = range(5)

_BURST_BEATS = 16
"""Bursts end at multiples of it."""

_CUT_CYCLES = 3
"""From the request of a transfer, or of its next burst, to the room for its beats."""

_ANSWER_CYCLES = 3
"""From a beat's take to the idle writer, without the memory's latency."""

WRITER = record_dtype(numbers="state until context address beats open room idle written finished")
"""State of the writing of results.

The ``state`` and the cycle ``until`` which it is kept; whose result it is; the next beat's
``address``, in beats; ``beats`` that are left, and those of the ``open`` burst; the cycles from
which a beat is taken (``room``) and every write was answered (``idle``); results ``written``, and
the cycle in which the last one was reported (``finished``)."""


def new_writer(*, first_beat: int) -> NDArray:
    """Return the writer of a run, of `WRITER`, shape (1,).

    Parameters
    ----------
    first_beat
        Address of the first result in beats.
    """
    writer = np.zeros(1, dtype=WRITER)
    writer["address"] = first_beat
    return writer


@compiled
def _open_burst(writer: Record, delays: Record, now: int) -> None:
    """Ask for the next burst."""
    writer.open = min(writer.beats, _BURST_BEATS - writer.address % _BURST_BEATS)
    writer.room = now + _CUT_CYCLES + draw_delay(delays)


@compiled
def _send(
    writer: Record,
    delays: Record,
    contexts: Record,
    shape: Shape,
    read_cycles: int,
    clock: NDArray[np.int64],
    now: int,
) -> None:
    """Send a beat, then read the next one or wait for the answer."""
    writer.address += 1
    writer.beats -= 1
    writer.open -= 1
    if writer.beats:
        if writer.open == 0:
            _open_burst(writer, delays, now)
        writer.state = _READ
        writer.until = now + shape.beat_rows + read_cycles
    else:
        contexts[writer.context].received = now + 1
        clock[0] = min(clock[0], now + 1)
        # Both the last beat and the answer may be delayed.
        delay = draw_delay(delays) + draw_delay(delays)
        writer.idle = now + shape.memory_latency + _ANSWER_CYCLES + delay
        writer.state = _ANSWER


@compiled
def step_results(
    writer: Record,
    delays: Record,
    contexts: Record,
    shape: Shape,
    result_beats: int,
    read_cycles: int,
    adds: bool,
    clock: NDArray[np.int64],
    now: int,
) -> bool:
    """Step the writing of results by a cycle; return whether a row is read.

    Parameters
    ----------
    writer : of `WRITER`
    delays : of `jpnet_cosim.cycles.bus_delays.DELAYS`
    contexts : of `jpnet_cosim.cycles.contexts.CONTEXT`, shape (contexts,)
    shape
        Of the accelerator.
    result_beats
        Beats of a result.
    read_cycles
        From a row's address to its data.
    adds
        Whether the banks are read by the drain instead.
    clock : int64, shape (1,)
        Next cycle in which a context may change; is brought forward.
    now
        The cycle.
    """
    if writer.state == _WAIT:
        if contexts[writer.context].valid:
            writer.state = _REQUEST
    elif writer.state == _REQUEST:
        writer.beats = result_beats
        _open_burst(writer, delays, now)
        writer.state = _READ
        writer.until = now + shape.beat_rows + read_cycles
    elif writer.state == _READ:
        if now == writer.until:
            writer.state = _SEND
        reads: bool = now + read_cycles <= writer.until
        writer.until += reads and adds
        return reads
    elif writer.state == _SEND:
        if now >= writer.room:
            _send(writer, delays, contexts, shape, read_cycles, clock, now)
    elif now >= writer.idle:
        writer.written += 1
        writer.finished = now + 1
        writer.context = (writer.context + 1) & (len(contexts) - 1)
        writer.state = _WAIT
    return False
