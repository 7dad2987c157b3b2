"""A program as arrays: which words each cluster reads, what they meet, what is drained."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.cycles.latencies import Latencies
from jpnet_cosim.cycles.records import NEVER, Record, record_dtype
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.program_model import ProgramModel
from jpnet_cosim.program_tokens import Tokens, pass_tokens, passes, vector_tokens
from jpnet_cosim.tensors_read import tensors_read
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SLOTS, HeaderWord
from jpnet_spec.instruction import FIELDS, LayerFlag, Opcode
from jpnet_spec.schedule import Schedule
from jpnet_spec.topn import ThresholdMode

__all__ = ["ProgramTables", "Source", "program_tables", "slot_masks"]


INSTRUCTION = record_dtype(
    numbers="steps rest apart pause tail written added pace",
    flags="convolution frees_image ends_block keeps_sums",
)
"""Cycles in which the drain reads rows (``steps``), and those that it rests after them, as far as
another job's first row and as another counted job is concerned (``rest``, ``apart``); cycles that
it rests before them (``pause``); cycles from the last one to the end (``tail``), and to the first
cycle in which only the threshold is missing (``written``). Rows of a tensor that is ``added``, one
in so many cycles (``pace``)."""

SHARE = record_dtype(numbers="first_word end_word first_row")
"""A cluster's words of an instruction, and its first row."""


class ProgramTables(NamedTuple):
    """What the cycle model needs of a program.

    Words of all instructions and clusters lie one after the other, and so do the rows of
    convolutions.

    Parameters
    ----------
    instructions : of `INSTRUCTION`, shape (instructions,)
    shares : of `SHARE`, shape (instructions, contexts, clusters)
    delays : int64, shape (rows,)
        Cycles from the start of the walk, or from the take of the row before, to the offer of each
        row; the end of a job is a row, too.
    banks : int64, shape (words,)
    row_last : bool, shape (words,)
        Whether the word is the last one of a row.
    places : int32, shape (words, act_word)
        Element of the image's survivors in each slot, -1 for slots that are not read.
    owners : int8, shape (words, act_word)
        The group that a slot's activation belongs to, -1 for any.
    lengths : uint16, shape (words, act_word, lanes)
        Weights that it meets in each lane.
    """

    instructions: Record
    shares: Record
    delays: NDArray[np.int64]
    banks: NDArray[np.int64]
    row_last: NDArray[np.bool_]
    places: NDArray[np.int32]
    owners: NDArray[np.int8]
    lengths: NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A tensor that instructions read.

    Parameters
    ----------
    layer
        Its place in the schedule's layers, None for the image.
    filtered
        Whether only what the layer's filter leaves is read, not all that is stored.
    """

    layer: int | None
    filtered: bool


class _Sources:
    """Tensors that are read, and where each one's elements begin among an image's survivors."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.offsets: dict[Source, int] = {}
        self.size = 0

    def offset(self, layer: int | None, *, filtered: bool) -> int:
        """Return where the elements of a tensor begin."""
        source = Source(layer=layer, filtered=filtered and layer is not None)
        if source not in self.offsets:
            schedule = self._schedule
            self.offsets[source] = self.size
            rows = None if layer is None else schedule.layers[layer].rows
            self.size += schedule.image_bytes if rows is None else rows * schedule.config.lanes
        return self.offsets[source]


class _Words:
    """Words that are gathered, one after the other."""

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        self.count = 0
        self.banks: list[int] = []
        self.row_last: list[bool] = []
        self.parts: list[tuple[NDArray[np.int64], ...]] = []

    def add(
        self,
        found: Tokens,
        *,
        tensor: tuple[int, int],
        lists: NDArray[np.uint32],
    ) -> None:
        """Add the words of one row, or of a vector.

        Parameters
        ----------
        found
            Its activations.
        tensor
            The word where the tensor begins, and the place of its elements among the survivors.
        lists
            The list tables.
        """
        config, count = self._config, len(found.word)
        if not count:
            return
        firsts = np.flatnonzero(np.diff(found.word, prepend=-1))
        number = self.count + np.repeat(np.arange(len(firsts)), np.diff(firsts, append=count))
        column, lane = np.divmod(found.slot, config.lanes)
        base, offset = tensor
        row = (found.word - base) * config.act_columns + column
        element = offset + (row * config.clusters + found.bank) * config.lanes + lane
        table, group = lists[found.cluster], np.maximum(found.owner, 0)[:, None]
        lanes, entry = np.arange(config.lanes)[None], found.entry[:, None]
        ends = table[group, lanes, entry + found.lists[:, None]].astype(np.int64)
        length = (ends - table[group, lanes, entry]) % config.weight_depth  # (tokens, lanes)
        self.parts.append((number, found.slot, element, found.owner, length))
        self.banks += [found.bank] * len(firsts)
        self.row_last += [False] * (len(firsts) - 1) + [True]
        self.count += len(firsts)

    def arrays(self) -> dict[str, NDArray]:
        """Return all words' fields by name."""
        config = self._config
        shape = (max(self.count, 1), config.act_word)
        place, owner = np.full(shape, -1, dtype=np.int32), np.full(shape, -1, dtype=np.int8)
        length = np.zeros((*shape, config.lanes), dtype=np.uint16)
        for number, slot, places, owners, lengths in self.parts:
            place[number, slot], owner[number, slot] = places, owners
            length[number, slot] = lengths
        return {
            "banks": np.array(self.banks or [0], dtype=np.int64),
            "row_last": np.array(self.row_last or [False], dtype=np.bool_),
            "places": place,
            "owners": owner,
            "lengths": length,
        }


def program_tables(
    schedule: Schedule, latency: Latencies
) -> tuple[ProgramTables, dict[Source, int]]:
    """Return the tables of a schedule's program.

    Parameters
    ----------
    schedule
        Its program is read, nothing else of it but the sizes of its tensors.
    latency
        Of the accelerator.

    Returns
    -------
    tables
        The tables.
    sources
        The tensors that are read, and where each one's elements begin among an image's survivors.
    """
    config, editor = schedule.config, ProgramEditor(schedule.program)
    memories = ProgramModel(schedule.program, config)
    for block in range(min(SLOTS, len(editor.blocks))):
        memories.load_block(block)
    loaded = SLOTS
    count = int(editor.words[HeaderWord.INSTRUCTIONS])
    words, delays = _Words(config), list[int]()
    shares = np.zeros((count, config.clusters), dtype=SHARE)
    instructions = [
        {name: editor.field(number, name) for name in FIELDS} for number in range(count)
    ]
    sources = _Sources(schedule)
    read = list(_tensors(schedule, instructions, sources))
    for number, fields in enumerate(instructions):
        tensor = read[number]
        for cluster in range(config.clusters):
            share = shares[number, cluster]
            share["first_word"], share["first_row"] = words.count, len(delays)
            if fields["opcode"] == Opcode.CONVOLUTION:
                for row in passes(fields, config, cluster):
                    found = pass_tokens(fields, config, cluster, row)
                    words.add(found, tensor=tensor, lists=memories.lists)
                delays += _row_delays(fields, config, cluster)
            else:
                found = vector_tokens(fields, config, cluster)
                words.add(found, tensor=tensor, lists=memories.lists)
            share["end_word"] = words.count
        if fields["flags"] & LayerFlag.NEXT_BLOCK:
            memories.load_block(loaded)
            loaded += 1
    tables = ProgramTables(
        instructions=_instructions(instructions, latency),
        shares=_turned(shares, instructions, config),
        delays=np.array(delays or [0], dtype=np.int64),
        **words.arrays(),
    )
    return tables, sources.offsets


def _turned(
    shares: NDArray, instructions: list[dict[str, int]], config: AcceleratorConfig
) -> NDArray:
    """Return what each context's clusters read, given the shares of the places."""
    turned = np.stack([shares] * len(config.turns), axis=1)
    convolution = [fields["opcode"] == Opcode.CONVOLUTION for fields in instructions]
    for context, turn in enumerate(config.turns):
        turned[convolution, context] = np.roll(shares[convolution], -turn, axis=1)
    return turned


def slot_masks(places: NDArray[np.int32], kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the slots of survivors in each word, one bit each, int64, shape (words,).

    Parameters
    ----------
    places : int32, shape (words, act_word)
        From `ProgramTables`.
    kept : bool, shape (elements,)
        An image's survivors.
    """
    packed = np.packbits(np.append(kept, False)[places], axis=1, bitorder="little")
    masks = np.zeros((len(places), 8), dtype=np.uint8)
    masks[:, : packed.shape[1]] = packed
    return masks.view("<i8").ravel()


def _tensors(
    schedule: Schedule, instructions: list[dict[str, int]], sources: _Sources
) -> Iterator[tuple[int, int]]:
    """Yield the base of each instruction's tensor, and where its elements begin."""
    for fields, tensor in zip(instructions, tensors_read(schedule, instructions), strict=True):
        # What reads nothing, at the end of a shortened program, names no tensor.
        layer, base = (None, 0) if tensor is None else (tensor.layer, tensor.base)
        yield base, sources.offset(layer, filtered=fields["source_slot"] > 0)


def _instructions(fields: list[dict[str, int]], latency: Latencies) -> NDArray:
    """Return records of `INSTRUCTION`."""
    counting = (ThresholdMode.EXACT, ThresholdMode.SAMPLED)
    found = np.zeros(len(fields), dtype=INSTRUCTION)
    for record, item in zip(found, fields, strict=True):
        flags = LayerFlag(item["flags"])
        counts = item["threshold_mode"] in counting
        counted = LayerFlag.LAST_TILE in flags and counts
        second = LayerFlag.SECOND in flags
        pace = 2 if second or LayerFlag.SUMMED in flags else 1
        rows = _drain_rows(item)
        # A row is known in the first of its cycles; its second outputs come that much later.
        shift = 1 - pace + (latency.second if second else 0)
        record["steps"] = pace * rows
        record["rest"] = latency.second - 1 if second else 0
        record["apart"] = latency.second - 2 if second else 0
        record["pause"] = max(0, latency.apart - item["rows"]) if counts else -NEVER
        record["tail"] = (latency.counted if counted else latency.drained) + shift
        record["written"] = latency.written + shift
        record["added"] = rows if LayerFlag.CARRIED in flags else 0
        record["pace"] = pace
        record["convolution"] = item["opcode"] == Opcode.CONVOLUTION
        record["frees_image"] = LayerFlag.FREE_IMAGE in flags
        record["ends_block"] = LayerFlag.NEXT_BLOCK in flags
        record["keeps_sums"] = LayerFlag.KEEP_SUMS in flags
    return found


def _drain_rows(fields: Mapping[str, int]) -> int:
    """Return the rows that the drain reads: those of every pooling window, clipped at the right."""
    if fields["opcode"] != Opcode.CONVOLUTION or fields["flags"] & LayerFlag.GATHER:
        return fields["rows"]
    extent, stride = fields["pool_window"], fields["pool_stride"]
    left = range(fields["output_width"], 0, -stride)
    taps = sum(min(extent, columns) * extent for columns in left)
    return fields["blocks"] * fields["rows"] * taps


def _row_delays(
    fields: Mapping[str, int], config: AcceleratorConfig, cluster: int
) -> Iterator[int]:
    """Yield after how many cycles the row walker offers each row, and the end.

    It takes a cycle to reach a row of outputs, one for each source row that it goes down to the
    first one that this row meets, one for each row of the kernel above the map, and one to leave.
    """
    pooled = int(fields["pool_stride"] == 2)
    first_block = 0 if fields["flags"] & LayerFlag.GATHER else fields["first_block"]
    output = (first_block * config.clusters + cluster) << pooled
    seen, cycles = 0, 1
    for line in range(fields["blocks"] << pooled):
        if line:
            lower = pooled and line % 2
            output += 1 if lower else (config.clusters << pooled) - pooled
        target = (output << fields["stride_log2"]) - fields["padding_top"]
        cycles += 1
        if output < fields["output_height"]:
            cycles += max(0, target - seen)
            seen = max(seen, target)
            for y in range(target, target + fields["kernel_height"]):
                if y >= fields["source_height"]:
                    break
                if y >= 0:
                    yield cycles
                    cycles = 0
                cycles += 1
            cycles += 1
        cycles += 1
    yield cycles
