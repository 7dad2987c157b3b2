"""Streamed lists of the cycle model: when blocks are requested, unpacked and free to be used."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.bus_reads import BURST_BEATS, LISTS, beat_comes
from jpnet_cosim.cycles.compiled import compiled
from jpnet_cosim.cycles.records import CONTEXTS, NOBODY, Record, record_dtype
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_hw.list_decoder import DECODER_UNITS
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SLOTS, UNIT_WORDS, HeaderWord, Memory
from jpnet_spec.packed_lists import CODE_BITS

__all__ = [
    "STREAM",
    "StreamTables",
    "closed_group",
    "is_streaming",
    "new_stream",
    "request_block",
    "step_slots",
    "step_stream",
    "stream_tables",
]

_WAIT, _UNITS, _END, _PACKED = range(4)

_UNIT_STEPS = 32 * UNIT_WORDS // CODE_BITS
"""Steps of the decoder in a unit."""

_WRITE_CYCLES = 3
"""From the take of a list table's unit to the cycle in which its group takes no token."""

_SETTLED = 4
"""Cycles after an event in which nothing changes any more."""

_REMEMBERED = 8
"""Cycles of which writes to list tables are remembered."""

STREAM = record_dtype(
    numbers="state block slot address cutting burst unit held loaded filled release used_block "
    "left settled row row_end packed_left window position",
    flags="streamed requested kept",
    full=(SLOTS,),
    generation=(SLOTS,),
    used=(SLOTS,),
    place=(CONTEXTS,),
    wanted=(CONTEXTS,),
    ready=(CONTEXTS,),
    needed=(CONTEXTS,),
    written=(_REMEMBERED,),
)
"""State of the stream.

The ``block`` that is, or will be, ``requested``, its ``slot`` and, in beats, the ``address`` of its
next burst; its beats that are ``cutting`` into bursts, and those of the ``burst`` that is offered.
The loader's ``state``, its next ``unit`` of the stream and how many it has ``held`` in front of it,
or beats of one; whether another beat is ``kept`` in front of those. The cycle in which a
block was ``loaded``, and the slot that it ``filled``. Of each slot whether it is ``full``, its
``generation`` and the contexts that have ``used`` it, one bit each. Slot and number of the block
that is given up next (``release``, ``used_block``) and images that are ``left``. Of each context
the ``place`` of its block, the generation that is ``wanted`` there, whether it is ``ready``, and
whether its use is ``needed``. Of a packed section the next ``row`` of entries and ``row_end``,
units that are ``packed_left`` in the stream, those in the ``window`` of the decoder and its
``position`` in the first of them. Nothing happens to the slots after ``settled`` but when a block
is loaded or given up. By cycle, whose list table was ``written``."""


class StreamTables(NamedTuple):
    """What the cycle model needs of a program's stream.

    Parameters
    ----------
    block_ends : int64, shape (blocks,)
        Units of the stream up to the end of each block.
    targets : int16, shape (units,)
        Of entries of list tables whose they are, ``(cluster, group)`` in base ``groups + 1`` where
        the largest digits mean all; -1 of other units.
    packed_units, packed_entries : int32, shape (units,)
        Of the units before packed entries, how many units hold these and how many rows of them
        there are; 0 of other units.
    first_rows : int64, shape (units,)
        Of those units the first row of entries in `row_steps`.
    row_steps : int64, shape (rows,)
        Of each row of packed entries its bits, `CODE_BITS` a step.
    first_beat
        Address of the stream.
    beat_units, unit_beats
        Units in a beat, and beats in a unit, at least 1.
    """

    block_ends: NDArray[np.int64]
    targets: NDArray[np.int16]
    packed_units: NDArray[np.int32]
    packed_entries: NDArray[np.int32]
    first_rows: NDArray[np.int64]
    row_steps: NDArray[np.int64]
    first_beat: int
    beat_units: int
    unit_beats: int


def stream_tables(
    editor: ProgramEditor, config: AcceleratorConfig, *, base_address: int
) -> StreamTables:
    """Return the tables of a program's stream; without one they hold a unit that is never read.

    Parameters
    ----------
    editor
        Of the program.
    config
        The accelerator.
    base_address
        Where the program lies.
    """
    first = int(editor.words[HeaderWord.TOTAL_WORDS])
    starts = [block.offset - first for block in editor.blocks]
    words = max(len(editor.words) - first, UNIT_WORDS)
    units = words // UNIT_WORDS
    targets = np.full(units, -1, dtype=np.int16)
    packed_units, packed_entries = (np.zeros(units, dtype=np.int32) for _ in range(2))
    first_rows, row_steps = np.zeros(units, dtype=np.int64), [np.zeros(1, dtype=np.int64)]
    rows = 1
    for section in (section for block in editor.blocks for section in block.sections):
        if section.packing:
            before = (section.first - first) // UNIT_WORDS - 1
            packed_units[before] = section.words // UNIT_WORDS
            packed_entries[before] = section.entries
            first_rows[before] = rows
            row_steps.append(editor.unpacked[section.offset].widths // CODE_BITS)
            rows += section.entries
        if section.memory is Memory.POINTER:
            cluster = config.clusters if section.cluster is None else section.cluster
            group = config.groups if section.group is None else section.group
            written = slice(
                *((place - first) // UNIT_WORDS for place in (section.first, section.end))
            )
            targets[written] = cluster * (config.groups + 1) + group
    beat_words = config.beat_bytes // 4
    return StreamTables(
        block_ends=np.array([*starts[1:], words], dtype=np.int64) // UNIT_WORDS,
        targets=targets,
        packed_units=packed_units,
        packed_entries=packed_entries,
        first_rows=first_rows,
        row_steps=np.concatenate(row_steps),
        first_beat=base_address // config.beat_bytes + first * 4 // config.beat_bytes,
        beat_units=max(1, beat_words // UNIT_WORDS),
        unit_beats=max(1, UNIT_WORDS // beat_words),
    )


def new_stream(tables: StreamTables, *, blocks: int, images: int, in_flight: int) -> NDArray:
    """Return the stream at the start of a run, when both slots are full, of `STREAM`, shape (1,).

    Parameters
    ----------
    tables
        Of the stream.
    blocks
        Of the stream, 0 where all lists are resident.
    images
        Of the run.
    in_flight
        Images in flight.
    """
    stream = np.zeros(1, dtype=STREAM)
    stream["ready"] = 1
    stream["loaded"] = -1
    stream["written"] = NOBODY
    if blocks:
        stream["streamed"], stream["full"], stream["left"] = True, 1, images
        stream["needed"][0] = np.arange(CONTEXTS) < min(images, in_flight)
        stream["block"] = SLOTS % blocks
        start = tables.block_ends[SLOTS - 1] if blocks > SLOTS else 0
        stream["unit"] = start
        stream["address"] = tables.first_beat + start * tables.unit_beats // tables.beat_units
    return stream


@compiled
def closed_group(stream: Record, groups: int, now: int) -> tuple[int, int]:
    """Return the cluster and the group whose list tables are written instead of read."""
    target = stream.written[now & (_REMEMBERED - 1)]
    if target == NOBODY:
        return NOBODY, NOBODY
    return target // (groups + 1), target % (groups + 1)


@compiled
def is_streaming(stream: Record) -> bool:
    """Return whether a slot is empty or being filled."""
    missing: bool = stream.streamed and (
        stream.requested or stream.full[0] == 0 or stream.full[1] == 0
    )
    return missing


@compiled
def step_slots(stream: Record, finished: int, in_flight: int, blocks: int, now: int) -> bool:
    """Step the slots by a cycle; return whether a context's block comes to be ready.

    Parameters
    ----------
    stream : of `STREAM`
    finished
        Contexts that have used their block up in this cycle, one bit each.
    in_flight
        Images in flight.
    blocks
        Of the stream.
    now
        The cycle.
    """
    is_loaded = stream.loaded == now
    if finished or is_loaded:
        stream.settled = now + _SETTLED
    if now >= stream.settled:
        return False
    slot = stream.release
    missing, wanted = False, False
    for context in range(in_flight):
        wanted = wanted or stream.needed[context] != 0
        missing = missing or (stream.needed[context] and not stream.used[slot] >> context & 1)
        stream.needed[context] = stream.left > context
    complete, comes = wanted and not missing, False
    for context in range(in_flight):
        here, ends = stream.place[context], finished >> context & 1
        fresh = stream.generation[here] == stream.wanted[context]
        ready = int(stream.full[here] and fresh and not ends)
        comes = comes or ready > stream.ready[context]
        stream.ready[context] = ready
        if ends:
            stream.used[here] |= 1 << context
            stream.wanted[context] ^= here
            stream.place[context] = 1 - here
    if is_loaded:
        stream.full[stream.filled] = 1
        stream.generation[stream.filled] ^= 1
    if complete:
        stream.full[slot] = 0
        stream.used[slot] = 0
        stream.settled = now + _SETTLED
        stream.release = 1 - slot
        stream.used_block += 1
        if stream.used_block == blocks:
            stream.used_block = 0
            stream.left = max(stream.left - in_flight, 0)
    return comes


@compiled
def _unpack_row(stream: Record, tables: StreamTables, there: bool) -> bool:
    """Step the decoder of packed lists; return whether it takes a unit."""
    takes: bool = there and stream.window < DECODER_UNITS and stream.packed_left > 0
    pops = False
    if stream.row == stream.row_end:
        stream.state = _UNITS
    else:
        reached = stream.position + tables.row_steps[stream.row]
        if stream.window > (1 if reached > _UNIT_STEPS else 0):
            pops = reached >= _UNIT_STEPS
            stream.position = reached % _UNIT_STEPS
            stream.row += 1
    stream.packed_left -= takes
    stream.window += takes - pops
    return takes


@compiled
def _unpack(stream: Record, tables: StreamTables, comes: bool, now: int) -> bool:
    """Let the loader take a unit; return whether the beat that comes passes."""
    takes, there = False, stream.held >= tables.unit_beats
    if stream.state == _WAIT:
        if there:
            stream.state = _UNITS
    elif stream.state == _END:
        stream.state = _WAIT
        stream.loaded, stream.filled = now + 1, stream.slot
    elif stream.state == _PACKED:
        takes = _unpack_row(stream, tables, there)
    elif there:
        takes = True
        stream.written[(now + _WRITE_CYCLES) & (_REMEMBERED - 1)] = tables.targets[stream.unit]
        if tables.packed_units[stream.unit]:
            stream.state = _PACKED
            stream.packed_left = tables.packed_units[stream.unit]
            stream.row = tables.first_rows[stream.unit]
            stream.row_end = stream.row + tables.packed_entries[stream.unit]
            stream.window = 0
            stream.position = 0
        elif stream.unit + 1 == tables.block_ends[stream.block]:
            stream.state = _END
    if takes:
        stream.unit += 1
        stream.held -= tables.unit_beats
    passes = comes and stream.held < tables.unit_beats
    if passes:
        stream.held += tables.beat_units
    return passes


@compiled
def request_block(
    stream: Record, tables: StreamTables, reads: Record, taken: bool, now: int
) -> None:
    """Request the next block as soon as its slot is free, burst after burst.

    Parameters
    ----------
    stream : of `STREAM`
    tables
        Of the stream.
    reads : of `jpnet_cosim.cycles.bus_reads.READS`
    taken
        Whether the bus takes the burst that was offered.
    now
        The cycle.
    """
    if taken:
        stream.cutting -= stream.burst
        stream.address += stream.burst
        stream.burst = 0
    elif stream.cutting and not stream.burst:
        stream.burst = min(stream.cutting, BURST_BEATS - stream.address % BURST_BEATS)
        reads.asks[LISTS], reads.ask_addresses[LISTS] = stream.burst, stream.address
    if not stream.requested and stream.full[stream.slot] == 0:
        stream.requested = True
        units = tables.block_ends[stream.block] - stream.unit
        stream.cutting = units * tables.unit_beats // tables.beat_units
    elif stream.loaded == now:
        stream.requested = False
        stream.slot = 1 - stream.slot
        stream.block += 1
        if stream.block == len(tables.block_ends):
            stream.block = 0
            stream.unit = 0
            stream.address = tables.first_beat


@compiled
def step_stream(stream: Record, tables: StreamTables, reads: Record, now: int) -> bool:
    """Step the loader, and the beat that is kept in front of it; return whether it takes one.

    Parameters
    ----------
    stream : of `STREAM`
    tables
        Of the stream.
    reads : of `jpnet_cosim.cycles.bus_reads.READS`
    now
        The cycle.
    """
    stream.written[(now + _WRITE_CYCLES) & (_REMEMBERED - 1)] = NOBODY
    taken = beat_comes(reads, LISTS) and not stream.kept
    there = taken or stream.kept
    passes = _unpack(stream, tables, there, now)
    stream.kept = there and not passes
    return bool(taken)
