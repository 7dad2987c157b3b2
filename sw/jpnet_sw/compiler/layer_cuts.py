"""Cutting a layer's lists into parts that fit a slot of the lanes' memories."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SHORT_ROWS, SLOTS, Memory, section_lanes
from jpnet_sw.compiler.capacity import layer_lists
from jpnet_sw.compiler.cuts import balanced_cut
from jpnet_sw.compiler.errors import CompileError
from jpnet_sw.compiler.spans import ReadWords, Span
from jpnet_sw.compiler.step_work import Work, step_work
from jpnet_sw.compiler.steps import Step
from jpnet_sw.compiler.tensors import Tensor
from jpnet_sw.compiler.tiles import Part, Tile, fitting_rows, row_tiles

__all__ = ["LayerCuts", "ListNeeds", "layer_cuts"]

_DIVISION = 1.05
"""What a layer takes longer where its inputs are divided among the groups, not dispatched."""

_GAIN = 0.99
"""Share of the cycles that another cut must take to be looked for."""

_UNLIMITED = 2**62


@dataclass(frozen=True, kw_only=True, slots=True)
class ListNeeds:
    """What the lists of a part need.

    Parameters
    ----------
    weights, table
        Entries of the fullest lane.
    units
        Of the stream, a cycle each.
    """

    weights: int
    table: int
    units: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerCuts:
    """What the lists of a layer need, and how they can be cut.

    Parameters
    ----------
    step
        The layer.
    read
        What it reads.
    config
        The accelerator.
    divided
        Whether the inputs are divided among the groups.
    weights : int64, shape (lanes, rows, pieces)
        Of each lane whose lists are streamed, of each channel row, of each piece that no span
        divides.
    tables : int64, shape (lanes, pieces)
        List table entries, whatever the number of rows, without the last one of a table.
    added_weights : int64, shape (lanes, rows)
        Of a shortcut that is summed; they belong to the first piece.
    added_table
        List table entries of that shortcut.
    farthest
        `jpnet_sw.compiler.lists.LaneLists.farthest` of a single channel row.
    work
        What the layer costs, rows as in `weights`.
    """

    step: Step
    read: ReadWords
    config: AcceleratorConfig
    divided: bool
    weights: NDArray[np.int64]
    tables: NDArray[np.int64]
    added_weights: NDArray[np.int64]
    added_table: int
    farthest: int
    work: Work

    def cut(self, least: int) -> tuple[Part, ...] | None:
        """Return the parts that take the fewest cycles, at least so many of them.

        All of the source is read again for every range of channel rows, but once only for all
        spans of one range; so ranges are as few as the accumulators allow unless spans do not fit.

        Parameters
        ----------
        least
            Fewest parts; None is returned where there is no such cut that fits the slots.
        """
        best: tuple[Part, ...] | None = None
        most_rows = fitting_rows(self.step.layer, self.step.drained, self.config)
        rows = self.weights.shape[1]
        for ranges in range(-(-rows // most_rows), rows + 1):
            if best is not None and not self._may_gain(ranges, best):
                break
            parts = self._cut_ranges(ranges, most_rows, least)
            if parts is None:
                continue
            if best is None or self.cost(parts) < self.cost(best):
                best = parts
            if all(part.span is None for part in parts):
                break
        return best

    def cost(self, parts: tuple[Part, ...]) -> tuple[float, int, int]:
        """Return what a cut takes: expected cycles an image, units of the stream, parts."""
        units = sum(self.needs(part).units for part in parts)
        ranges = {(part.first_row, part.tile): part for part in parts}.values()
        cycles = sum(self._tile_share(part) * self._range_cycles(part) for part in ranges)
        if self.divided:
            cycles *= _DIVISION
        return max(cycles, units / self.config.contexts), units, len(parts)

    def needs(self, part: Part) -> ListNeeds:
        """Return what a part's lists need."""
        rows, pieces = slice(part.first_row, part.first_row + part.rows), self._pieces(part.span)
        weights = self.weights[:, rows, pieces].sum(axis=(1, 2))
        tables = self.tables[:, pieces].sum(axis=1) + 1
        if pieces.start == 0:
            weights = weights + self.added_weights[:, rows].sum(axis=1)
            tables = tables + self.added_table
        is_wide = self.farthest * part.rows > SHORT_ROWS
        units = self._units(weights, Memory.WEIGHT, wide=is_wide)
        units += self._units(tables, Memory.POINTER, wide=False)
        return ListNeeds(weights=int(weights.max()), table=int(tables.max()), units=units)

    def _units(self, entries: NDArray[np.int64], memory: Memory, *, wide: bool) -> int:
        """Return the units that so many entries of each lane take."""
        together = min(section_lanes(memory, wide=wide), self.config.lanes)
        return int(entries.reshape(-1, together).max(axis=1).sum())

    @property
    def smallest(self) -> ListNeeds:
        """What one channel row and the smallest span need, at most."""
        rows, pieces = self.weights.shape[1:]
        together = self.read.together
        spans = (
            Span(first_word=place * together, words=min(together, self.read.words))
            for place in range(pieces)
        )
        needs = [
            self.needs(Part(first_row=row, rows=1, span=span))
            for span in spans
            for row in range(rows)
        ]
        return ListNeeds(
            weights=max(item.weights for item in needs),
            table=max(item.table for item in needs),
            units=max(item.units for item in needs),
        )

    def _pieces(self, span: Span | None) -> slice:
        if span is None:
            return slice(0, self.weights.shape[2])
        together = self.read.together
        return slice(span.first_word // together, -(-span.end_word // together))

    def _tile_share(self, part: Part) -> float:
        """Return how much of the output rows a part is for."""
        if part.tile is None or self.step.drained is None:
            return 1.0
        tiles = row_tiles(self.step.layer, self.step.drained, part, self.config)
        return part.tile.blocks / sum(tile.blocks for tile in tiles)

    def _range_cycles(self, part: Part) -> float:
        """Return the expected cycles of an image for all spans of some channel rows."""
        products = self.work.products[:, part.first_row : part.first_row + part.rows]
        busiest = products.sum(axis=1).max(axis=0) / self.config.groups  # (clusters, images)
        return self._busiest(np.maximum(busiest, self.work.tokens))

    def _busiest(self, cycles: NDArray[np.float64]) -> float:
        """Return the cycles of an image in the busiest cluster.

        Images in flight take turns with the clusters for output rows, so that each cluster has the
        mean of what theirs have.

        Parameters
        ----------
        cycles : float64, shape (clusters, images)
            Of each place, or of each cluster where it reads a share of its own.
        """
        if self.step.walked.convolution is not None:
            turned = [np.roll(cycles, turn, axis=0) for turn in self.config.turns]
            cycles = np.mean(turned, axis=0)
        return float(cycles.max(axis=0).mean())

    def _may_gain(self, ranges: int, best: tuple[Part, ...]) -> bool:
        """Return whether so many ranges, or more, may take clearly fewer cycles, or fewer units."""
        cycles, units, _ = self.cost(best)
        whole = Part(first_row=0, rows=self.weights.shape[1])
        tokens = self._busiest(self.work.tokens)
        entries = self.weights.sum() + self.added_weights.sum() + ranges * self.tables.sum()
        fewest_units = entries / min(section_lanes(Memory.WEIGHT, wide=False), self.config.lanes)
        fewest = max(self._range_cycles(whole), ranges * tokens)
        if self.divided:
            fewest *= _DIVISION
        fewest = max(fewest, fewest_units / self.config.contexts)
        return fewest < _GAIN * cycles or bool(fewest_units < units and fewest < cycles)

    def _cut_ranges(self, ranges: int, most_rows: int, least: int) -> tuple[Part, ...] | None:
        """Cut the channel rows into so many ranges, and these into spans."""
        weights = self.weights.sum(axis=2) + self.added_weights
        lanes, rows = weights.shape
        ends = balanced_cut(
            np.concatenate([weights, np.ones((1, rows), dtype=np.int64)]),
            np.array([_UNLIMITED] * lanes + [most_rows], dtype=np.int64),
            balanced=slice(0, lanes),
            pieces=ranges,
        )
        assert ends is not None
        firsts = [0, *ends[:-1]]
        counts = [1] * len(ends)
        while True:
            cuts = [
                self._cut_spans(first, end - first, count)
                for first, end, count in zip(firsts, ends, counts, strict=True)
            ]
            found = [parts for parts in cuts if parts is not None]
            if len(found) < len(cuts):
                return None
            if sum(map(len, found)) >= least:
                return tuple(part for parts in found for part in parts)
            # The range with the largest part that has a piece to give is cut once more.
            pieces = self.weights.shape[2]
            sizes = [
                max(self.needs(part).units for part in parts) if count < pieces else 0
                for parts, count in zip(found, counts, strict=True)
            ]
            if not any(sizes):
                return None
            place = int(np.argmax(sizes))
            counts[place] = len({part.span for part in found[place]}) + 1

    def _cut_spans(self, first_row: int, rows: int, count: int) -> tuple[Part, ...] | None:
        """Cut some channel rows into so many spans, or more where they do not fit otherwise."""
        mine = slice(first_row, first_row + rows)
        weights, tables = self.weights[:, mine].sum(axis=1), self.tables.copy()
        weights[:, 0] += self.added_weights[:, mine].sum(axis=1)
        tables[:, 0] += self.added_table
        lanes = len(weights)
        limits = [self.config.weight_depth // SLOTS] * lanes
        limits += [self.config.pointer_depth // SLOTS - 1] * lanes
        ends = balanced_cut(
            np.concatenate([weights, tables]),
            np.array(limits, dtype=np.int64),
            balanced=slice(0, lanes),
            pieces=count,
        )
        if ends is None:
            return None
        if len(ends) == 1:
            return (Part(first_row=first_row, rows=rows),)
        words = [min(end * self.read.together, self.read.words) for end in ends]
        spans = [
            Span(first_word=first, words=end - first)
            for first, end in zip([0, *words[:-1]], words, strict=True)
        ]
        tiles = self._tiles(first_row, rows)
        return tuple(
            Part(first_row=first_row, rows=rows, span=span, tile=tile)
            for tile in (tiles if len(tiles) > 1 else (None,))
            for span in spans
        )

    def _tiles(self, first_row: int, rows: int) -> tuple[Tile | None, ...]:
        if self.step.drained is None:
            return (None,)
        part = Part(first_row=first_row, rows=rows)
        return row_tiles(self.step.layer, self.step.drained, part, self.config)


def layer_cuts(
    step: Step,
    tensors: Mapping[str, Tensor],
    config: AcceleratorConfig,
    input_activity: NDArray[np.float64],
    *,
    dense: bool,
) -> tuple[LayerCuts, tuple[Part, ...]]:
    """Return a layer's cuts and the fastest of them.

    Every group holds all weights unless it is faster to divide the inputs among the groups.

    Parameters
    ----------
    step
        The layer.
    tensors
        From `place_tensors`.
    config
        The accelerator.
    input_activity : float64, shape (images, elements)
        Which elements of its source survive in some images.
    dense
        Whether zero weights are stored too.

    Raises
    ------
    CompileError
        If a slot does not hold the lists of a single channel row and of a single word.
    """
    work = step_work(step, tensors[step.layer.inputs[0]], tensors[step.layer.name], input_activity)
    whole = _measure(step, tensors, config, work, divided=False, dense=dense)
    choices = [(whole, whole.cut(1))]
    if config.groups > 1 and (choices[0][1] is None or len(choices[0][1]) > 1):
        divided = _measure(step, tensors, config, work, divided=True, dense=dense)
        choices.append((divided, divided.cut(1)))
    found = [(item, parts) for item, parts in choices if parts is not None]
    if not found:
        raise CompileError(_refusal(choices[-1][0]))
    return min(found, key=lambda choice: choice[0].cost(choice[1]))


def _measure(
    step: Step,
    tensors: Mapping[str, Tensor],
    config: AcceleratorConfig,
    work: Work,
    *,
    divided: bool,
    dense: bool,
) -> LayerCuts:
    """Encode a layer's lists, channel row by channel row, and count their entries."""
    read = ReadWords(layer=step.walked, layout=tensors[step.layer.inputs[0]].layout)
    rows = -(-len(step.layer.weight) // config.lanes)
    single = [Part(first_row=row, rows=1) for row in range(rows)]
    parts = layer_lists(step.walked, tensors, single, divided=divided, dense=dense).parts
    streamed = [place for place in parts[0].lanes if place[0] == 0 or not parts[0].alike]
    groups = config.groups if divided else 1
    first = parts[0].lanes[streamed[0]]
    tables = [read.lists(parts[0].lanes[place].own, groups=groups) for place in streamed]
    weights = [
        [read.sizes(part.lanes[place].own, groups=groups) for part in parts] for place in streamed
    ]
    added = [
        [len(part.lanes[place].entries) - part.lanes[place].own[-1] for part in parts]
        for place in streamed
    ]
    return LayerCuts(
        step=step,
        read=read,
        config=config,
        divided=divided,
        weights=np.array(weights, dtype=np.int64),
        tables=np.array(tables, dtype=np.int64),
        added_weights=np.array(added, dtype=np.int64),
        added_table=len(first.starts) - len(first.own),
        farthest=max(part.lanes[place].farthest for part in parts for place in streamed),
        work=work,
    )


def _refusal(cuts: LayerCuts) -> str:
    """Return which memory is too small even for a channel row and a word."""
    need, config = cuts.smallest, cuts.config
    memory, entries, have = "list table", need.table, config.pointer_depth // SLOTS
    if entries <= have:
        memory, entries, have = "weight memory", need.weights, config.weight_depth // SLOTS
    what = (
        "one channel row"
        if cuts.read.together == cuts.read.words
        else (f"one channel row and {cuts.read.together * config.act_word} inputs")
    )
    return (
        f"layer {cuts.step.layer.name!r}: {memory} needs {entries} entries a lane for the lists "
        f"of {what}, a slot for streamed lists has {have}"
    )
