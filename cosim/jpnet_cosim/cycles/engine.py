"""The cycle model's run: all parts, cycle after cycle."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.bus_reads import IMAGES, LISTS, step_reads
from jpnet_cosim.cycles.compiled import compiled, kept_compiled
from jpnet_cosim.cycles.contexts import activity, adds_row, is_watched, step_contexts
from jpnet_cosim.cycles.image_loader import request_image, step_images
from jpnet_cosim.cycles.lane_queues import UNCOUNTED
from jpnet_cosim.cycles.latencies import Latencies
from jpnet_cosim.cycles.list_stream import (
    StreamTables,
    closed_group,
    is_streaming,
    request_block,
    step_slots,
    step_stream,
)
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
def _count_idle(
    pipe: Record,
    idle: NDArray[np.int64],
    empty: NDArray[np.int64],
    counts: NDArray[np.int64],
    cluster: int,
    end: int,
) -> None:
    """Count a cluster's lanes without a product up to a cycle, all by the same cause."""
    last, waiting, total, dropping = idle.shape[1] - 1, pipe.waiting, 0, 0
    for cycle in range(pipe.since, end):
        place = cycle & last
        waiting += idle[cluster, place]
        total += waiting
        dropping += empty[cluster, place]
        idle[cluster, place] = empty[cluster, place] = 0
    counts[pipe.cause] += total - dropping
    counts[_LIST_EMPTY] += dropping
    pipe.waiting, pipe.since = waiting, end


@compiled
def _common_cause(levels: tuple[int, bool, bool]) -> int:
    """Return the cause of all lanes without a product, `NOBODY` where it is each cluster's own."""
    if levels[0]:
        return NOBODY
    if levels[1]:
        return _DRAIN
    return _TOPN if levels[2] else _MEMORY


@compiled
def _step_cluster(
    pipe: Record,
    reader: Record,
    contexts: Record,
    lanes: Record,
    idle: NDArray[np.int64],
    empty: NDArray[np.int64],
    tables: ProgramTables,
    masks: NDArray[np.int64],
    cluster: int,
    oldest: int,
    shape: Shape,
    latency: Latencies,
    closed: tuple[int, int],
    clock: NDArray[np.int64],
    watched: bool,
    now: int,
) -> bool:
    """Step a cluster's dispatcher, token builder and reader; return whether a word is asked for."""
    taken = NOBODY
    if now >= pipe.quiet or watched:
        taken = step_tokens(
            pipe,
            reader,
            shape.contexts,
            lanes,
            idle,
            empty,
            tables.owners,
            tables.lengths,
            cluster,
            oldest,
            shape.fifo_depth,
            latency,
            closed,
            clock,
            now,
        )
    if taken != NOBODY or now >= reader.quiet or watched:
        read_words(
            reader,
            contexts,
            tables.instructions,
            tables.shares,
            tables.delays,
            tables.row_last,
            masks,
            cluster,
            oldest,
            taken,
            clock,
            watched,
            latency.word,
            now,
        )
        reader.quiet = next_word_time(reader, shape.contexts, now)
    pipe.quiet = now + 1
    if taken == NOBODY:
        pipe.quiet = next_token_time(pipe, reader, lanes, cluster, latency.stages, now)
    asks: bool = reader.asked_context != NOBODY or reader.kept_context != NOBODY
    return asks


@compiled
def _transfer(
    stalls: Record,
    reads: Record,
    loader: Record,
    banks: Record,
    stream: Record,
    blocks: StreamTables,
    readers: Record,
    contexts: Record,
    shape: Shape,
    image_beats: int,
    clock: NDArray[np.int64],
    now: int,
) -> None:
    """Step everything between the bus and the memories, but for results, by a cycle."""
    asks, user = reads.asks[IMAGES] > 0, NOBODY
    if loader.fetching or stream.streamed:
        taken = step_images(loader, reads, banks, readers, contexts, shape, image_beats, clock, now)
        if stream.streamed:
            taken = step_stream(stream, blocks, reads, now) or taken
        user = step_reads(reads, stalls, taken, shape.memory_latency, now)
    if not asks:
        request_image(loader, reads, contexts, image_beats)
    if stream.streamed:
        request_block(stream, blocks, reads, user == LISTS, now)


@compiled
def _next_first(computing: int, first: int, contexts: int) -> int:
    """Return which context goes first in the next cycle, where they do in turn."""
    for step in range(contexts):
        number = (first + step) & (contexts - 1)
        if computing >> number & 1:
            return number
    return first


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
    stalls: Record,
    reads: Record,
    loader: Record,
    banks: Record,
    stream: Record,
    blocks: StreamTables,
    writer: Record,
    masks: NDArray[np.int64],
    beats: tuple[int, int],
    counts: NDArray[np.int64],
    ends: NDArray[np.int64],
    oldest: NDArray[np.int64],
    drain: Record,
    clock: NDArray[np.int64],
    limit: int,
) -> int:
    """Run all images; return the cycles, or -1 if the limit was reached.

    Parameters
    ----------
    shape, latency, tables
        The accelerator and its program.
    contexts, readers, pipes, lanes, idle, empty, stalls, reads, loader, banks, stream,
    writer, drain
        Its parts at the start of a run.
    blocks
        The program's stream.
    masks : int64, shape (images, words)
        Slots of survivors in each word, one bit each.
    beats
        Of one image and of one result.
    counts : int64, one for each `Counter`
        Lane cycles by cause are added.
    ends : int64, shape (images, instructions)
        Cycle in which each instruction ends; is filled.
    limit
        Cycles.
    """
    instructions, shares = tables.instructions, tables.shares
    streaming, common, levels, watched, held = False, _MEMORY, (0, False, False), True, False
    streamed, finished, closed = stream[0].streamed, 0, (NOBODY, NOBODY)
    stepped, asking = True, False
    for now in range(limit):
        if watched or now >= clock[0] or stepped:
            levels = activity(contexts, readers, shares, now)
            common = _common_cause(levels)
        if asking:
            grant_words(readers, tables.banks, held)
        asking = False
        if streamed:
            closed = closed_group(stream[0], shape.groups, now)
        for cluster in range(shape.clusters):
            reader, pipe = readers[cluster], pipes[cluster]
            skipping = reader.busy_count > 0
            if watched or now >= min(pipe.quiet, reader.quiet):
                asks = _step_cluster(
                    pipe,
                    reader,
                    contexts,
                    lanes,
                    idle,
                    empty,
                    tables,
                    masks,
                    cluster,
                    oldest[(now - 1 - cluster) & (HISTORY - 1)],
                    shape,
                    latency,
                    closed,
                    clock,
                    watched,
                    now,
                )
                asking = asking or asks
            cause = common
            if cause == NOBODY:
                cause = _IMBALANCE if pipe.blocked or not skipping else _NO_ACTIVATION
            if cause != pipe.cause or now >= pipe.since + UNCOUNTED:
                _count_idle(pipe, idle, empty, counts, cluster, now)
                pipe.cause = cause
        if now:
            streaming = is_streaming(stream[0])
            _transfer(
                stalls[0],
                reads[0],
                loader[0],
                banks,
                stream[0],
                blocks,
                readers,
                contexts,
                shape,
                beats[0],
                clock,
                now,
            )
        adds = adds_row(drain[0], now)
        held = adds
        if step_results(
            writer[0], stalls[0], contexts, shape, beats[1], latency.result, adds, clock, now
        ):
            held = True
        released, finished, stepped = False, 0, watched or now >= clock[0]
        if stepped:
            released, finished = step_contexts(
                contexts,
                readers,
                pipes,
                stream[0],
                instructions,
                drain[0],
                ends,
                clock,
                oldest[(now - 1) & (HISTORY - 1)],
                latency,
                now,
            )
            watched = is_watched(contexts, now + 1)
        following, comes = oldest[now & (HISTORY - 1)], False
        if streamed:
            comes = step_slots(stream[0], finished, shape.contexts, len(blocks.block_ends), now)
        if shape.in_turn:
            following = _next_first(levels[0], following, shape.contexts)
        elif released:
            following = (following + 1) & (shape.contexts - 1)
        if comes or following != oldest[now & (HISTORY - 1)]:
            clock[0] = now + 1
        oldest[(now + 1) & (HISTORY - 1)] = following
        ended = writer[0].written == len(masks) and now >= writer[0].finished + _REPORT_CYCLES
        if ended and not streaming:
            for cluster in range(shape.clusters):
                _count_idle(pipes[cluster], idle, empty, counts, cluster, now + 1)
            return now
    return -1


def _entry(digest: str) -> Callable[..., int]:
    def entry(arguments: tuple[Any, ...]) -> int:
        _ = digest
        return _run(*arguments)

    return entry


run_machine = kept_compiled(_entry)
"""Run all images, see `_run`."""
