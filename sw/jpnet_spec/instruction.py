"""Instructions of the accelerator: fields, ranges and their packing into 32-bit words."""

from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag

__all__ = [
    "FIELDS",
    "FORMAT_VERSION",
    "INSTRUCTION_WORDS",
    "THRESHOLD_SLOTS",
    "Field",
    "Instruction",
    "LayerFlag",
    "Opcode",
]

FORMAT_VERSION = 7
"""Version of instructions and program images."""

INSTRUCTION_WORDS = 20
"""32-bit words of an instruction; bits without a field are 0."""

THRESHOLD_SLOTS = 16
"""Thresholds a context remembers; slot 0 is always 0, the image's."""


class Opcode(IntEnum):
    """Operations."""

    FULLY_CONNECTED = 1
    """Scatter the surviving activations of a vector or map, drain the sums as a vector."""
    CONVOLUTION = 2
    """Scatter the surviving activations of a map, drain the sums, pooled, as another map."""


class LayerFlag(IntFlag):
    """Options of an instruction."""

    DENSE = 1
    """Issue every activation, zeros too: the dense network, for comparison."""
    DIVIDED = 2
    """Input i of a cluster belongs to group ``i % groups``; otherwise any group takes it."""
    FREE_IMAGE = 4
    """After this instruction's activations are read, the next image may overwrite the input."""
    RESULT = 8
    """The output is the network's result; this is the program's last instruction."""
    FIRST_TILE = 16
    """The first instruction of a layer: the threshold's count begins."""
    LAST_TILE = 32
    """The last instruction of a layer: the count ends and the threshold is stored."""
    MAP = 64
    """The source is a map, not a vector."""
    NEXT_BLOCK = 128
    """The last instruction that reads its block of streamed lists; none in a resident program."""
    KEEP_SUMS = 256
    """Drain nothing: the sums stay where they are for the next instruction, or for its drain."""
    CARRIED = 512
    """Add a tensor of the target's shape, which lies in the activation memory, to the sums."""
    SUMMED = 1024
    """Add other sums, which an instruction before has kept."""
    SECOND = 2048
    """Write a second tensor: of each output its channel's affine function."""
    GATHER = 4096
    """Of a convolution: all output positions have one accumulator, which is drained as a vector."""
    SOURCE_SWAPPED = 8192
    """The halves of the clusters have swapped the source's rows, see `MapLayout`."""
    TARGET_SWAPPED = 16384
    """Likewise the target's, which has no pooling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Place of a field: 32-bit word, lowest bit and width."""

    word: int
    bit: int
    width: int


FIELDS: dict[str, Field] = {
    "opcode": Field(word=0, bit=0, width=8),
    "source_slot": Field(word=0, bit=16, width=4),
    "target_slot": Field(word=0, bit=20, width=4),
    "threshold_mode": Field(word=0, bit=24, width=2),
    "stride_log2": Field(word=0, bit=26, width=2),
    "pool_window": Field(word=0, bit=28, width=2),
    "pool_stride": Field(word=0, bit=30, width=2),
    "source_base": Field(word=1, bit=0, width=16),
    "source_rows": Field(word=1, bit=16, width=16),
    "target_base": Field(word=2, bit=0, width=16),
    "rows": Field(word=2, bit=16, width=16),
    "pointer_base": Field(word=3, bit=0, width=16),
    "param_base": Field(word=3, bit=16, width=16),
    "winners": Field(word=4, bit=0, width=24),
    "shift": Field(word=4, bit=24, width=6),
    "static_threshold": Field(word=5, bit=0, width=7),
    "sample_stride": Field(word=5, bit=8, width=9),
    "source_packing": Field(word=5, bit=20, width=4),
    "source_height": Field(word=6, bit=0, width=12),
    "source_width": Field(word=6, bit=12, width=12),
    "source_tail": Field(word=6, bit=24, width=6),
    "source_pixel_words": Field(word=7, bit=0, width=16),
    "source_row_words": Field(word=7, bit=16, width=16),
    "source_words": Field(word=8, bit=0, width=16),
    "padding_top": Field(word=8, bit=16, width=8),
    "padding_left": Field(word=8, bit=24, width=8),
    "output_height": Field(word=9, bit=0, width=12),
    "output_width": Field(word=9, bit=12, width=12),
    "kernel_height": Field(word=9, bit=24, width=8),
    "stored_height": Field(word=10, bit=0, width=12),
    "stored_width": Field(word=10, bit=12, width=12),
    "run_lists": Field(word=10, bit=24, width=8),
    "channel_lists": Field(word=11, bit=0, width=16),
    "phase_lists": Field(word=11, bit=16, width=16),
    "first_block": Field(word=12, bit=0, width=12),
    "blocks": Field(word=12, bit=12, width=12),
    "first_column": Field(word=12, bit=24, width=6),
    "line_rows": Field(word=13, bit=0, width=16),
    "target_words": Field(word=13, bit=16, width=16),
    "target_pixel_words": Field(word=14, bit=0, width=16),
    "target_row_words": Field(word=14, bit=16, width=16),
    "sample_start": Field(word=15, bit=0, width=8),
    "sample_cluster": Field(word=15, bit=8, width=8),
    "sample_block": Field(word=15, bit=16, width=8),
    "sample_line": Field(word=15, bit=24, width=8),
    "carried_base": Field(word=16, bit=0, width=16),
    "carried_multiplier": Field(word=16, bit=16, width=16),
    "second_base": Field(word=17, bit=0, width=16),
    "second_params": Field(word=17, bit=16, width=16),
    "first_sum": Field(word=18, bit=0, width=16),
    "summed_row": Field(word=18, bit=16, width=16),
    "second_shift": Field(word=19, bit=0, width=6),
    "source_pixel_gap": Field(word=19, bit=6, width=10),
    "flags": Field(word=19, bit=16, width=15),
}
"""Field name to place. Bits of no field are reserved and must be 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """One layer, or one tile of a layer: what to read, which lists to meet, how to drain.

    A vector is a sequence of rows of `lanes` activations, a map has a height, a width and channel
    rows of `lanes` channels. Where they lie, counted from the tensor's base, is told by
    `jpnet_spec.tensor_layout`. Addresses are those of words of `act_word` activations in every
    cluster's bank; K is the number of clusters.

    A tile of a fully connected layer is a range of the output vector's rows; an entry's row
    counts from the tile's first one. A convolution's output rows are dealt to the clusters in
    blocks: block ``b`` holds the output rows ``b * pool_stride`` onwards, `pool_stride` of
    them, and is local block ``b // K`` of cluster ``b % K``. A tile is a range of local blocks
    of all clusters, and a range of channel rows; where pooling windows overlap it has all local
    blocks. The accumulator row of output position ``(y, x)`` and of channel row ``j`` of the
    tile, for row ``y`` in local block ``t`` of the tile, is ``first_sum + ((t * pool_stride + y %
    pool_stride) * output_width + x) * rows + j``.

    What is added to an output's sum, times `carried_multiplier` and before the one rounding, is
    the carried tensor's element of the same place, or the sum `summed_row` accumulator rows
    further. Then a channel's negative output is 0 where its negative multiplier is 0, and has the
    same multiplier as a positive one otherwise. The second tensor's element is the requantised sum
    of 64 times the output, negated where the channel's parameters say so, and of their bias. It is
    the second tensor whose magnitudes are counted. Neither goes with pooling or with vectors.

    With `LayerFlag` ``GATHER`` an output vector's rows have the accumulator rows from 0 on,
    whatever the output position; `rows`, `target_base`, `first_block` and `first_column` are those
    of the vector, `line_rows` is 0, and the convolution has all local blocks.

    Where n images are in flight each has ``contexts / n`` times `act_depth` words and `acc_depth`
    accumulators.

    Source row ``y`` meets output row ``oy`` with the kernel's row ``ky = y + padding_top -
    (oy << stride_log2)``. The activation of channel position ``c`` and column ``x`` has, with
    ``u = x + padding_left``, the stride phases ``(py, px)``, the low `stride_log2` bits of ``ky``
    and ``u``, and its lists begin at list table entry ``pointer_base + ((py << stride_log2) + px)
    * phase_lists + c * channel_lists + (ky >> stride_log2) * run_lists + jx``. One list belongs to
    each ``jx`` from 0 to ``run_lists - 1``; those whose output column ``(u >> stride_log2) - jx``
    exists are one run. An entry's row is an offset, from ``-acc_depth`` to ``acc_depth - 1``, from
    the accumulator row of output column ``u >> stride_log2`` and channel row 0. In a packed map a
    pixel has ``s = act_word >> source_packing`` slots; the activation in slot i of its row's word w
    has ``x = (w << source_packing) + i // s`` and ``c = i % s``. With `LayerFlag` ``DIVIDED`` the
    position ``c`` belongs to group ``c % groups``, and ``c // groups`` takes its place in the sum.

    Parameters
    ----------
    opcode, flags
        Operation and options.
    source_slot, target_slot
        Where the input's threshold is read and the output's is stored; 0 reads as 0.
    threshold_mode
        `jpnet_spec.topn.ThresholdMode` of the output.
    stride_log2
        Stride of the kernel, 1, 2 or 4, as a power of two: 0 to 2.
    pool_window, pool_stride
        Max pooling: 1 and 1 for none; a window of 2 or 3 with a stride of 1 or 2; 0 for vectors.
    source_base, source_rows
        First word address of the input tensor, and number of rows of a vector; 0 rows for a map.
    target_base
        Word address of the tile's first row; of a map the word of the tile's first local block,
        of its first column's pixel, that holds the tile's first channel row.
    rows
        Rows to drain, `lanes` outputs each; of a convolution the tile's channel rows.
    pointer_base
        First list table entry of the tile's channels.
    param_base
        First row of the channel parameters of the tile's channels.
    winners
        N that the counted elements are compared with.
    shift
        Requantisation shift, 0 to 40.
    static_threshold
        For the static mode.
    sample_stride
        For the sampled mode; an output is counted iff its channel's phase and its position's
        residue add up to 0 modulo the stride.
    source_packing
        Pixels of the map that share a word, as a power of two: 0 where each takes whole words, and
        for a vector, like all that follows.
    source_height, source_width
        Pixels of the map that is read; of a convolution's width only the columns, from the left,
        that some output sees.
    source_tail
        Columns used in each pixel's last word, of a packed map slots used by each pixel; 0 for all.
    source_pixel_words, source_row_words
        Words of a pixel that are read, 1 of a packed map, and words of a map's row.
    source_words
        Words to the end of bank 0, the fullest; banks from ``source_height % K`` onwards, if that
        is not 0, have `source_row_words` fewer.
    padding_top, padding_left
        Of the map.
    output_height, output_width
        Output positions before pooling; 0 for vectors, like all that follows but `first_block` and
        `first_column`.
    kernel_height
        Rows of the kernel.
    stored_height, stored_width
        Pixels of the stored map: `output_height` and `output_width`, pooled. An output position
        whose pixel is not stored counts for the threshold only.
    run_lists, channel_lists, phase_lists
        List table entries of an activation's longest run, ``ceil(kernel_width / stride)``; of a
        channel in one stride phase; and of a stride phase.
    first_block, blocks
        First local block of the tile and number of local blocks; the last ones may not exist in
        every cluster. Of a vector, `first_block` is the bank of the tile's first row.
    first_column
        Column of `target_base`'s word that takes the first row or channel row; the following ones
        fill that word and the next.
    line_rows
        Accumulator rows of one output row: ``output_width * rows``.
    target_words
        Words from `target_base` to the end of the tile's last stored row in bank 0.
    target_pixel_words, target_row_words
        Words of a stored pixel, and of a stored row.
    sample_start, sample_cluster, sample_block, sample_line
        Residues modulo `sample_stride` of row-major positions before pooling: that of the first
        position of the tile in cluster 0, and the steps from one cluster, local block and output
        row to the next.
    carried_base
        Word address of the carried tensor's element that belongs to `target_base`.
    carried_multiplier
        Of what is added to the sums.
    second_base
        Word address of the second tensor's element that belongs to `target_base`.
    second_params
        First row of the second tensor's channel parameters.
    first_sum
        Accumulator row of the tile's first output position; 0 of an instruction that drains.
    summed_row
        Distance to the accumulator row that is added.
    second_shift
        Requantisation shift of the second tensor, 0 to 40.
    source_pixel_gap
        Of a convolution's map: words of a pixel that are not read, after or before those that are.

    Raises
    ------
    ValueError
        If a value does not fit its field.
    """

    opcode: Opcode
    flags: LayerFlag
    source_slot: int
    target_slot: int
    threshold_mode: int
    stride_log2: int = 0
    pool_window: int = 0
    pool_stride: int = 0
    source_base: int
    source_rows: int
    target_base: int
    rows: int
    pointer_base: int
    param_base: int
    winners: int
    shift: int
    static_threshold: int
    sample_stride: int
    source_packing: int = 0
    source_height: int = 0
    source_width: int = 0
    source_tail: int = 0
    source_pixel_words: int = 0
    source_row_words: int = 0
    source_words: int = 0
    padding_top: int = 0
    padding_left: int = 0
    output_height: int = 0
    output_width: int = 0
    kernel_height: int = 0
    stored_height: int = 0
    stored_width: int = 0
    run_lists: int = 0
    channel_lists: int = 0
    phase_lists: int = 0
    first_block: int = 0
    blocks: int = 0
    first_column: int = 0
    line_rows: int = 0
    target_words: int = 0
    target_pixel_words: int = 0
    target_row_words: int = 0
    sample_start: int = 0
    sample_cluster: int = 0
    sample_block: int = 0
    sample_line: int = 0
    carried_base: int = 0
    carried_multiplier: int = 0
    second_base: int = 0
    second_params: int = 0
    first_sum: int = 0
    summed_row: int = 0
    second_shift: int = 0
    source_pixel_gap: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            limit = 2 ** FIELDS[item.name].width
            value = getattr(self, item.name)
            if not 0 <= int(value) < limit:
                raise ValueError(
                    f"Instruction.{item.name} must be from 0 to {limit - 1}, not {value!r}"
                )

    def encode(self) -> tuple[int, ...]:
        """Return the `INSTRUCTION_WORDS` 32-bit words."""
        words = [0] * INSTRUCTION_WORDS
        for name, place in FIELDS.items():
            words[place.word] |= int(getattr(self, name)) << place.bit
        return tuple(words)
