"""Golden model of the accelerator: executes a program image, knowing nothing of its network."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.program_editor import ProgramEditor, SectionPlace
from jpnet_cosim.program_tokens import Token, tokens
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SLOTS, HeaderWord, Memory
from jpnet_spec.instruction import FIELDS, THRESHOLD_SLOTS, LayerFlag, Opcode
from jpnet_spec.layer import AFFINE_UNIT
from jpnet_spec.numbers import requantise, requantise_with_addend
from jpnet_spec.topn import ThresholdMode

__all__ = ["LayerOutput", "ProgramModel"]

_NEVER_WRITTEN = 0x55
"""What the activation memory holds at first, so that reading too much shows."""

_STALE = 0xFFFF_FFFF
"""What a slot holds where its block has nothing, so that reading it shows."""

_NOTHING = -128
"""Less than any output: the maximum of no outputs."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerOutput:
    """What one layer, a single instruction or all of its tiles, leaves behind.

    Parameters
    ----------
    tensor : int8, shape (images, rows * lanes)
        In the order of the bus; of a map whole words of all banks.
    second : int8, shape (images, rows * lanes)
        The second tensor, or None.
    threshold : int64, shape (images,)
    products : int64, shape (images, clusters, groups, lanes)
        Products issued by each multiplier; tokens that any group may take go to them in turn.
    """

    tensor: NDArray[np.int8]
    second: NDArray[np.int8] | None
    threshold: NDArray[np.int64]
    products: NDArray[np.int64]

    @property
    def macs(self) -> NDArray[np.int64]:
        """Products issued, int64, shape (images,)."""
        total: NDArray[np.int64] = self.products.sum(axis=(1, 2, 3))
        return total


class ProgramModel:
    """The memories after the load of a program, and what a run does with them.

    Cluster c is the one that takes place c: lists of rows that belong to places are the same in
    all clusters.

    Parameters
    ----------
    program : uint32, shape (words,)
        A valid image.
    config
        The accelerator.
    """

    def __init__(self, program: NDArray[np.uint32], config: AcceleratorConfig) -> None:
        self._config = config
        self._image = ProgramEditor(program)
        place = (config.clusters, config.groups, config.lanes)
        self._weights = np.zeros((*place, config.weight_depth), dtype=np.uint32)
        self._lists = np.zeros((*place, config.pointer_depth), dtype=np.uint32)
        self._params = np.zeros((config.lanes, config.param_depth, 3), dtype=np.uint32)
        for section in self._image.sections:
            self._fill(section)

    def _fill(self, section: SectionPlace) -> None:
        """Write a section's entries to its memories."""
        values = self._image.values(section)
        group = slice(None) if section.group is None else section.group
        cluster = slice(None) if section.cluster is None else section.cluster
        if section.memory is Memory.PARAM:
            self._params[section.lane, section.address :][: len(values)] = values[:, :3]
        elif section.memory is not Memory.INSTRUCTION:
            memory = self._weights if section.memory is Memory.WEIGHT else self._lists
            entries = slice(section.address, section.address + len(values))
            for lane, column in enumerate(values.T[: self._config.lanes], start=section.lane):
                memory[cluster, group, lane, entries] = column

    @property
    def lists(self) -> NDArray[np.uint32]:
        """The list tables as they are now, shape (clusters, groups, lanes, pointer_depth)."""
        return self._lists

    def load_block(self, number: int) -> None:
        """Let a block of the stream replace all that its slot held."""
        blocks = self._image.blocks
        for memory in (self._weights, self._lists):
            depth = memory.shape[-1] // SLOTS
            slot = number % SLOTS * depth
            memory[..., slot : slot + depth] = _STALE
        for section in blocks[number % len(blocks)].sections:
            self._fill(section)

    def run(self, images: NDArray[np.int8]) -> list[LayerOutput]:
        """Run images.

        Parameters
        ----------
        images : int8, shape (images, image bytes)
            In the order of the bus.

        Returns
        -------
        list
            One output per layer.
        """
        share = self._config.contexts // int(self._image.words[HeaderWord.IN_FLIGHT])
        config = replace(
            self._config,
            contexts=self._config.contexts // share,
            acc_depth=self._config.acc_depth * share,
            act_depth=self._config.act_depth * share,
        )
        run = _Run(config, self._weights, self._lists, self._params, images)
        run.entry_rows = self._config.acc_depth
        run.load(int(self._image.words[HeaderWord.INPUT_BASE]), images)
        outputs, loaded = [], 0
        if self._image.blocks:
            for loaded in range(SLOTS):
                self.load_block(loaded)
        for index in range(int(self._image.words[HeaderWord.INSTRUCTIONS])):
            fields = {name: self._image.field(index, name) for name in FIELDS}
            output = run.execute(fields)
            outputs += [] if output is None else [output]
            if fields["flags"] & LayerFlag.NEXT_BLOCK:
                loaded += 1
                self.load_block(loaded)
        return outputs


class _Run:
    """State of a run: activation memories, accumulators and thresholds of all images."""

    def __init__(
        self,
        config: AcceleratorConfig,
        weights: NDArray[np.uint32],
        lists: NDArray[np.uint32],
        params: NDArray[np.uint32],
        images: NDArray[np.int8],
    ) -> None:
        self._config = config
        self._weights, self._lists, self._params = weights, lists, params
        count, multipliers = len(images), (config.clusters, config.groups, config.lanes)
        self._memory = np.full(
            (count, config.clusters, config.act_depth, config.act_word), _NEVER_WRITTEN, np.int8
        )
        self._acc = np.zeros((*multipliers, config.acc_depth, count), dtype=np.int64)
        self._slots = np.zeros((THRESHOLD_SLOTS, count), dtype=np.int64)
        self._products = np.zeros((count, *multipliers), dtype=np.int64)
        self._counted: list[NDArray[np.int64]] = []
        self._base, self._second_base, self._turn = 0, 0, 0
        self.entry_rows = config.acc_depth

    def load(self, base: int, images: NDArray[np.int8]) -> None:
        """Put images, in the order of the bus, into the memory."""
        width = self._config.act_word * self._config.clusters
        words = -(-images.shape[1] // width)
        padded = np.zeros((len(images), words * width), dtype=np.int8)
        padded[:, : images.shape[1]] = images
        self._memory[:, :, base : base + words] = self._by_bank(padded)

    def _by_bank(self, rows: NDArray[np.int8]) -> NDArray[np.int8]:
        config = self._config
        shape = (len(rows), -1, config.act_columns, config.clusters, config.lanes)
        banks = rows.reshape(shape).transpose(0, 3, 1, 2, 4)  # (images, K, words, columns, lanes)
        return banks.reshape(len(rows), config.clusters, -1, config.act_word)

    def _in_bus_order(self, base: int, words: int) -> NDArray[np.int8]:
        config, count = self._config, len(self._memory)
        banks = self._memory[:, :, base : base + words].copy()
        columns = banks.reshape(count, config.clusters, words, config.act_columns, config.lanes)
        return columns.transpose(0, 2, 3, 1, 4).reshape(count, -1)

    def execute(self, fields: Mapping[str, int]) -> LayerOutput | None:
        """Execute an instruction; return the layer's output if it is the layer's last."""
        flags = fields["flags"]
        is_map = fields["opcode"] == Opcode.CONVOLUTION and not flags & LayerFlag.GATHER
        if flags & LayerFlag.FIRST_TILE:
            self._counted, self._base = [], fields["target_base"]
            self._second_base = fields["second_base"]
        limit = self._slots[fields["source_slot"]]
        for token in tokens(fields, self._config):
            self._issue(token, limit, dense=bool(flags & LayerFlag.DENSE))
        if flags & LayerFlag.KEEP_SUMS:
            return None
        if is_map:
            self._drain_map(fields)
        else:
            self._drain_vector(fields)
        if not flags & LayerFlag.LAST_TILE:
            return None
        threshold = self._threshold(fields)
        self._slots[fields["target_slot"]] = threshold
        self._slots[0] = 0
        products, self._products = self._products, np.zeros_like(self._products)
        second = None
        if flags & LayerFlag.SECOND:
            second = self._stored_map(fields, self._second_base)
        return LayerOutput(
            tensor=self._stored_map(fields, self._base) if is_map else self._stored(fields),
            second=second,
            threshold=threshold,
            products=products,
        )

    def _stored_map(self, fields: Mapping[str, int], base: int) -> NDArray[np.int8]:
        """Return a map that the layer left."""
        rows = -(-fields["stored_height"] // self._config.clusters)
        return self._in_bus_order(base, rows * fields["target_row_words"])

    def _stored(self, fields: Mapping[str, int]) -> NDArray[np.int8]:
        """Return the vector that the layer left."""
        config = self._config
        word_rows = config.clusters * config.act_columns
        rows = (fields["target_base"] - self._base) * word_rows
        rows += fields["first_column"] * config.clusters + fields["first_block"] + fields["rows"]
        return self._in_bus_order(self._base, -(-rows // word_rows))[:, : rows * config.lanes]

    def _issue(self, token: Token, limit: NDArray[np.int64], *, dense: bool) -> None:
        """Send an activation's products to the accumulators of the images where it survives."""
        acts = self._memory[:, token.bank, token.word, token.slot].astype(np.int64)
        kept = np.ones(len(acts), dtype=np.bool_) if dense else np.abs(acts) > limit
        if not kept.any():
            return
        group = self._turn if token.owner is None else token.owner
        self._turn = (self._turn + 1) % self._config.groups
        for lane in range(self._config.lanes):
            where = (token.cluster, group, lane)
            first, end = (int(self._lists[(*where, token.entry + n)]) for n in (0, token.lists))
            length = (end - first) % self._config.weight_depth
            entries = self._weights[where][first : first + length]
            weights = (entries & 0xFF).astype(np.uint8).view(np.int8).astype(np.int64)
            offsets = (entries >> 8).astype(np.int64) + self.entry_rows
            rows = token.base + offsets % (2 * self.entry_rows) - self.entry_rows
            np.add.at(self._acc[where], rows, weights[:, None] * (acts * kept))
            self._products[(slice(None), *where)] += kept * len(entries)

    def _requantise(
        self, sums: NDArray[np.int64], fields: Mapping[str, int], row: int
    ) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        """Return the outputs of sums whose last axis is the lanes, and the lanes' phases."""
        params = self._params[:, fields["param_base"] + row]
        outputs = requantise(sums + _bias(params), *_multipliers(params), fields["shift"])
        return outputs, params[:, 2].astype(np.int64)

    def _add(
        self,
        sums: NDArray[np.int64],
        addend: NDArray[np.int64],
        fields: Mapping[str, int],
        row: int,
    ) -> NDArray[np.int8]:
        """Return the outputs of sums to which something is added."""
        params = self._params[:, fields["param_base"] + row]
        multiplier, negative_multiplier = _multipliers(params)
        return requantise_with_addend(
            sums + _bias(params),
            addend,
            multiplier=multiplier,
            negative_multiplier=negative_multiplier,
            addend_multiplier=fields["carried_multiplier"],
            shift=fields["shift"],
        )

    def _second(
        self, outputs: NDArray[np.int8], fields: Mapping[str, int], row: int
    ) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        """Return the second tensor's outputs, and the lanes' phases."""
        params = self._params[:, fields["second_params"] + row]
        unit = np.where(params[:, 0] >> 31, -AFFINE_UNIT, AFFINE_UNIT)
        sums = outputs.astype(np.int64) * unit + _bias(params)
        seconds = requantise(sums, *_multipliers(params), fields["second_shift"])
        return seconds, params[:, 2].astype(np.int64)

    def _count(
        self, outputs: NDArray[np.int8], position: NDArray[np.int64], fields: Mapping[str, int]
    ) -> None:
        """Keep the magnitudes of counted outputs, given each lane's phase plus position."""
        magnitudes = np.abs(outputs.astype(np.int64))
        if fields["threshold_mode"] == ThresholdMode.SAMPLED:
            magnitudes = magnitudes[:, position % fields["sample_stride"] == 0]
        self._counted.append(magnitudes.reshape(len(outputs), -1))

    def _threshold(self, fields: Mapping[str, int]) -> NDArray[np.int64]:
        mode = ThresholdMode(fields["threshold_mode"])
        if mode is ThresholdMode.NONE:
            return np.zeros(len(self._memory), dtype=np.int64)
        if mode is ThresholdMode.STATIC:
            return np.full(len(self._memory), fields["static_threshold"])
        counted = np.concatenate(self._counted, axis=1)
        over = np.stack([(counted > magnitude).sum(axis=1) for magnitude in range(128)], axis=1)
        too_many: NDArray[np.int64] = (over > fields["winners"]).sum(axis=1)
        return too_many

    def _drain_vector(self, fields: Mapping[str, int]) -> None:
        """Add the sums of all clusters and groups and store the outputs row by row."""
        config = self._config
        for row in range(fields["rows"]):
            sums = self._acc[:, :, :, row].sum(axis=(0, 1)).T  # (images, lanes)
            self._acc[:, :, :, row] = 0
            outputs, phase = self._requantise(sums, fields, row)
            self._count(outputs, phase, fields)
            local, bank = divmod(fields["first_block"] + row, config.clusters)
            word, column = divmod(fields["first_column"] + local, config.act_columns)
            place = slice(column * config.lanes, (column + 1) * config.lanes)
            self._memory[:, bank, fields["target_base"] + word, place] = outputs

    def _drain_map(self, fields: Mapping[str, int]) -> None:
        """Requantise and count every output, then store the largest of each pooling window."""
        config, stride = self._config, fields["pool_stride"]
        first = fields["first_block"] * config.clusters * stride
        lines = fields["blocks"] * config.clusters * stride
        shape = (lines, fields["output_width"], fields["rows"] * config.lanes)
        outputs = np.full((len(self._memory), *shape), _NOTHING, np.int8)
        seconds = outputs.copy()
        for line in range(min(lines, fields["output_height"] - first)):
            outputs[:, line], seconds[:, line] = self._drain_line(fields, line)
        ends = fields["blocks"] * stride * fields["line_rows"]
        self._acc[:, :, :, :ends] = 0
        self._acc[:, :, :, fields["summed_row"] :][:, :, :, :ends] = 0
        last = min(fields["stored_height"], (first + lines) // stride)
        for y in range(first // stride, last):
            top = y * stride - first
            for x in range(fields["stored_width"]):
                window = outputs[:, top:, x * stride :]
                extent = fields["pool_window"]
                best = window[:, :extent, :extent].max(axis=(1, 2))
                self._store(fields, "target_base", (y, x), best)
                if fields["flags"] & LayerFlag.SECOND:
                    self._store(fields, "second_base", (y, x), seconds[:, top, x])

    def _drain_line(
        self, fields: Mapping[str, int], line: int
    ) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Return one of the tile's output rows and of the second tensor's.

        Either is int8, shape (images, width, rows * lanes); without a second tensor they are the
        same.
        """
        block, lower = divmod(line, fields["pool_stride"])
        local, cluster = divmod(block, self._config.clusters)
        residue = fields["sample_start"] + cluster * fields["sample_cluster"]
        residue += local * fields["sample_block"] + lower * fields["sample_line"]
        base = (local * fields["pool_stride"] + lower) * fields["line_rows"]
        columns, counted = [], []
        for column in range(fields["output_width"]):
            for row in range(fields["rows"]):
                place = base + column * fields["rows"] + row
                outputs, phase = self._outputs(
                    fields, (local, lower, cluster), (column, row), place
                )
                columns.append(outputs)
                if fields["flags"] & LayerFlag.SECOND:
                    outputs, phase = self._second(outputs, fields, row)
                self._count(outputs, phase + residue + column, fields)
                counted.append(outputs)
        shape = (len(self._memory), fields["output_width"], -1)
        first, second = (np.concatenate(part, axis=1).reshape(shape) for part in (columns, counted))
        return first, second

    def _outputs(
        self,
        fields: Mapping[str, int],
        line: tuple[int, int, int],
        position: tuple[int, int],
        place: int,
    ) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        """Return a row of outputs, with what is added to them, and the lanes' phases."""
        local, lower, cluster = line
        column, row = position

        def sums(place: int) -> NDArray[np.int64]:
            total: NDArray[np.int64] = self._acc[cluster, :, :, place].sum(axis=0).T
            return total  # (images, lanes)

        outputs, phase = self._requantise(sums(place), fields, row)
        if fields["flags"] & LayerFlag.CARRIED:
            y = (fields["first_block"] + local) * self._config.clusters + cluster + lower
            bank, word, lanes = self._place(fields, "carried_base", (y, column), row)
            addend = self._memory[:, bank, word, lanes].astype(np.int64)
            outputs = self._add(sums(place), addend, fields, row)
        elif fields["flags"] & LayerFlag.SUMMED:
            outputs = self._add(sums(place), sums(place + fields["summed_row"]), fields, row)
        return outputs, phase

    def _place(
        self, fields: Mapping[str, int], base: str, pixel: tuple[int, int], row: int
    ) -> tuple[int, int, slice]:
        """Return bank, word and slots of a pixel's channel row, as in the target."""
        config = self._config
        local, bank = divmod(pixel[0], config.clusters)
        address = fields[base] + pixel[1] * fields["target_pixel_words"]
        address += (local - fields["first_block"]) * fields["target_row_words"]
        word, column = divmod(fields["first_column"] + row, config.act_columns)
        return (
            bank,
            address + word,
            slice(column * config.lanes, (column + 1) * config.lanes),
        )

    def _store(
        self,
        fields: Mapping[str, int],
        base: str,
        pixel: tuple[int, int],
        values: NDArray[np.int8],
    ) -> None:
        """Store a pixel's channel rows."""
        lanes = self._config.lanes
        for row in range(fields["rows"]):
            bank, word, slots = self._place(fields, base, pixel, row)
            self._memory[:, bank, word, slots] = values[:, row * lanes : (row + 1) * lanes]


def _bias(params: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the lanes' biases, which have 31 bits."""
    bias: NDArray[np.int64] = (params[:, 0] << 1).view(np.int32).astype(np.int64) >> 1
    return bias


def _multipliers(params: NDArray[np.uint32]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the lanes' multipliers of positive and of negative sums."""
    return (params[:, 1] & 0xFFFF).astype(np.uint16), (params[:, 1] >> 16).astype(np.uint16)
