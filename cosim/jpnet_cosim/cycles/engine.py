"""The cycle model's run: all parts, cycle after cycle."""

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.compiled import compiled, kept_compiled
from jpnet_cosim.cycles.contexts import activity, is_watched, step_contexts
from jpnet_cosim.cycles.image_loader import step_images
from jpnet_cosim.cycles.latencies import Latencies
from jpnet_cosim.cycles.program_tables import ProgramTables
from jpnet_cosim.cycles.records import NOBODY, Record
from jpnet_cosim.cycles.result_writer import step_results
from jpnet_cosim.cycles.shape import Shape
from jpnet_cosim.cycles.token_pipe import next_token_time, step_tokens
from jpnet_cosim.cycles.word_reader import grant_words, next_word_time, read_words
from jpnet_spec.counters import Counter

__all__ = ["HISTORY", "run_machine"]

HISTORY = 128
"""Cycles of which the oldest image is remembered; more than there are clusters."""

_REPORT_CYCLES = 2
"""From the report of the last result to the end of the run."""

_NO_ACTIVATION = int(Counter.IDLE_NO_ACTIVATION)
_IMBALANCE = int(Counter.IDLE_IMBALANCE)
_LIST_EMPTY = int(Counter.IDLE_LIST_EMPTY)
_DRAIN = int(Counter.IDLE_DRAIN)
_TOPN = int(Counter.IDLE_TOPN)
_MEMORY = int(Counter.IDLE_MEMORY)


@compiled
def _account(
    pipes: Record,
    idle: NDArray[np.int64],
    empty: NDArray[np.int64],
    counts: NDArray[np.int64],
    waiting: NDArray[np.int64],
    levels: tuple[bool, bool, bool],
    now: int,
) -> None:
    """Count the lanes without a product in this cycle, by cause."""
    place = now & (idle.shape[1] - 1)
    for cluster in range(len(waiting)):
        waiting[cluster] += idle[cluster, place]
        dropping = empty[cluster, place]
        idle[cluster, place] = empty[cluster, place] = 0
        if levels[0]:
            alone = pipes[cluster].blocked or not pipes[cluster].skipping
            cause = _IMBALANCE if alone else _NO_ACTIVATION
        elif levels[1]:
            cause = _DRAIN
        else:
            cause = _TOPN if levels[2] else _MEMORY
        counts[cause] += waiting[cluster] - dropping
        counts[_LIST_EMPTY] += dropping


@compiled
def _run(
    shape: Shape,
    latency: Latencies,
    tables: ProgramTables,
    contexts: Record,
    readers: Record,
    pipes: Record,
    lanes: Record,
    idle: NDArray[np.int64],
    empty: NDArray[np.int64],
    loader: Record,
    banks: Record,
    writer: Record,
    kept: NDArray[np.bool_],
    beats: tuple[int, int],
    counts: NDArray[np.int64],
    ends: NDArray[np.int64],
    waiting: NDArray[np.int64],
    oldest: NDArray[np.int64],
    sequencer: NDArray[np.int64],
    clock: NDArray[np.int64],
    limit: int,
) -> int:
    """Run all images; return the cycles, or -1 if the limit was reached.

    Parameters
    ----------
    shape, latency, tables
        The accelerator and its program.
    contexts, readers, pipes, lanes, idle, empty, loader, banks, writer
        Its parts at the start of a run.
    kept : bool, shape (images, elements)
        Survivors.
    beats
        Of one image and of one result.
    counts : int64, one for each `Counter`
        Lane cycles by cause are added.
    ends : int64, shape (images, instructions)
        Cycle in which each instruction ends; is filled.
    limit
        Cycles.
    """
    instructions, shares, delays = tables.instructions, tables.shares, tables.delays
    word_banks, row_last = tables.banks, tables.row_last
    places, owners, lengths = tables.places, tables.owners, tables.lengths
    levels, watched, held = (False, False, False), True, False
    stepped, asking = True, False
    for now in range(limit):
        if watched or now >= clock[0] or stepped:
            levels = activity(contexts, readers, shares, now)
        if asking:
            grant_words(readers, word_banks, held)
        asking = False
        for cluster in range(shape.clusters):
            reader, pipe = readers[cluster], pipes[cluster]
            pipe.skipping = reader.busy_count > 0
            if now < min(pipe.quiet, reader.quiet) and not watched:
                continue
            known = oldest[(now - 1 - cluster) & (HISTORY - 1)]
            taken = NOBODY
            if now >= pipe.quiet or watched:
                taken = step_tokens(
                    pipe,
                    reader,
                    contexts,
                    lanes,
                    idle,
                    empty,
                    places,
                    owners,
                    lengths,
                    kept,
                    cluster,
                    known,
                    shape.fifo_depth,
                    latency,
                    clock,
                    now,
                )
            if taken != NOBODY or now >= reader.quiet or watched:
                read_words(
                    reader,
                    contexts,
                    instructions,
                    shares,
                    delays,
                    row_last,
                    places,
                    kept,
                    cluster,
                    known,
                    taken,
                    clock,
                    watched,
                    latency.word,
                    now,
                )
                reader.quiet = next_word_time(reader, now)
            pipe.quiet = now + 1
            if taken == NOBODY:
                pipe.quiet = next_token_time(pipe, reader, lanes, cluster, latency.stages, now)
            asking = asking or reader.asked_context != NOBODY or reader.kept_context != NOBODY
        if now:
            _account(pipes, idle, empty, counts, waiting, levels, now)
            step_images(loader[0], banks, readers, contexts, shape, beats[0], clock, now)
        held = step_results(writer[0], contexts, shape, beats[1], latency.result, clock, now)
        released, stepped = False, watched or now >= clock[0]
        if stepped:
            released = step_contexts(
                contexts,
                readers,
                pipes,
                instructions,
                sequencer,
                ends,
                clock,
                oldest[now & (HISTORY - 1)],
                latency.fetch,
                now,
            )
            watched = is_watched(contexts, now + 1)
        following = oldest[now & (HISTORY - 1)] + int(released)
        oldest[(now + 1) & (HISTORY - 1)] = following & (shape.contexts - 1)
        if writer[0].written == len(kept) and now == writer[0].finished + _REPORT_CYCLES:
            return now
    return -1


run_machine = kept_compiled(_run)
"""Run all images, see `_run`."""
