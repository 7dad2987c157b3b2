"""Weight lists: what each input activation meets in each lane."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.convolution import Convolution
from jpnet_spec.image import ROW_MODULUS
from jpnet_spec.network import Layer
from jpnet_spec.tensor_layout import TensorLayout
from jpnet_sw.compiler.spans import ReadWords, Span
from jpnet_sw.compiler.tensors import Tensor
from jpnet_sw.compiler.tiles import Part

__all__ = ["LaneLists", "TapTable", "convolution_lists", "lane_lists", "local_inputs"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LaneLists:
    """The lists of one layer, or of one part of its channels, in one lane of one group.

    Parameters
    ----------
    entries : uint32, shape (entries,)
        ``row << 8 | weight``, list after list; the row is an offset modulo `ROW_MODULUS`.
    starts : int64, shape (lists + 1,)
        First entry of each list, relative to the layer's first entry, and the end of the last.
    followers
        How many of the starts, at the end, are those of another table.
    """

    entries: NDArray[np.uint32]
    starts: NDArray[np.int64]
    followers: int = 0

    @property
    def own(self) -> NDArray[np.int64]:
        """The starts that are not of another table."""
        return self.starts[: len(self.starts) - self.followers]

    @property
    def farthest(self) -> int:
        """Least n for which every row is an offset from -n to ``n - 1``."""
        rows = self.entries.astype(np.int64) >> 8
        signed = np.where(rows < ROW_MODULUS // 2, rows + 1, ROW_MODULUS - rows)
        return int(signed.max(initial=0))

    def followed_by(self, other: "LaneLists") -> "LaneLists":
        """Return these lists and after them those of another table."""
        return LaneLists(
            entries=np.concatenate([self.entries, other.entries]),
            starts=np.concatenate([self.starts, other.starts + len(self.entries)]),
            followers=len(other.starts),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TapTable:
    """Order of a convolution's lists: stride phase, input channel, tap row, tap column.

    Tap ``(ky, kx)`` is row ``ky // stride`` and column ``kx // stride`` of the phase ``(ky %
    stride, kx % stride)``.

    Parameters
    ----------
    stride
        Of the kernel.
    channels
        Input channel positions that a group holds lists of, padding included.
    rows, columns
        Taps of a phase.
    """

    stride: int
    channels: int
    rows: int
    columns: int

    @classmethod
    def of(
        cls,
        layer: Layer,
        source: TensorLayout,
        *,
        divided: bool,
        span: Span | None = None,
    ) -> "TapTable":
        """Return the table of a convolution or average.

        Parameters
        ----------
        layer
            The layer.
        source
            Layout of what it reads.
        divided
            Whether its inputs are divided among the groups.
        span
            Words of each pixel that have lists; None for all.
        """
        assert layer.convolution is not None
        convolution = layer.convolution
        mine = ReadWords(layer=layer, layout=source).positions(span)
        positions, stride = mine.stop - mine.start, convolution.window.stride
        return cls(
            stride=stride,
            channels=-(-positions // source.config.groups) if divided else positions,
            rows=-(-convolution.window.size[0] // stride),
            columns=-(-convolution.window.size[1] // stride),
        )

    @property
    def channel_lists(self) -> int:
        """Lists of one input channel in one phase."""
        return self.rows * self.columns

    @property
    def phase_lists(self) -> int:
        """Lists of one phase."""
        return self.channels * self.channel_lists

    @property
    def lists(self) -> int:
        """Lists of all phases."""
        return self.stride**2 * self.phase_lists

    def index(
        self, channel: NDArray[np.int64], row: NDArray[np.int64], column: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the list of an input channel's place and a tap."""
        phase = row % self.stride * self.stride + column % self.stride
        within = row // self.stride * self.columns + column // self.stride
        return phase * self.phase_lists + channel * self.channel_lists + within


def local_inputs(
    tensor: Tensor, slots: slice, *, cluster: int, group: int | None
) -> NDArray[np.int64]:
    """Return the input element behind each list of a group, -1 for padding.

    Parameters
    ----------
    tensor
        What is read.
    slots
        Which part of a bank.
    cluster
        Whose bank.
    group
        The owner when the inputs are divided among the groups; None when every group holds all.
    """
    config = tensor.layout.config
    row, lane = np.divmod(tensor.places.astype(np.int64), config.lanes)
    bank, word, column = config.row_places(row)
    slot = word * config.act_word + column * config.lanes + lane
    mine = np.flatnonzero(bank == cluster)
    inputs = np.full(tensor.layout.bank_slots(cluster), -1, dtype=np.int64)
    inputs[slot[mine]] = mine
    inputs = inputs[slots]
    return inputs if group is None else inputs[group :: config.groups]


def lane_lists(
    layer: Layer,
    inputs: NDArray[np.int64],
    positions: NDArray[np.int32],
    part: Part,
    config: AcceleratorConfig,
    *,
    lane: int,
    dense: bool,
) -> LaneLists:
    """Encode one lane's lists of a fully connected layer.

    Parameters
    ----------
    layer
        The layer.
    inputs : int64
        From `local_inputs`.
    positions : int32, shape (oc,)
        Position of each output channel.
    part
        The rows whose weights these are.
    config
        The accelerator.
    lane
        The lane.
    dense
        Whether zero weights are stored too.
    """
    row = positions.astype(np.int64) // config.lanes - part.first_row
    owned = np.flatnonzero((positions % config.lanes == lane) & (row >= 0) & (row < part.rows))
    weight = np.zeros((len(owned), len(inputs)), dtype=np.int8)
    real = inputs >= 0
    weight[:, real] = layer.weight[np.ix_(owned, inputs[real])]
    stored = np.broadcast_to(real, weight.shape) if dense else weight != 0
    channel, column = np.nonzero(stored)
    return _encode(column, row[owned[channel]], weight[channel, column], lists=len(inputs))


def convolution_lists(
    layer: Layer,
    convolution: Convolution,
    source: Tensor,
    positions: NDArray[np.int32],
    part: Part,
    *,
    lane: int,
    group: int | None,
    dense: bool,
) -> LaneLists:
    """Encode one lane's lists of a convolution; they are the same in every cluster.

    Parameters
    ----------
    layer
        A convolution or an average.
    convolution
        Its geometry.
    source
        The map that is read.
    positions : int32, shape (oc,)
        Position of each output channel.
    part
        The channel rows, and what is read, whose weights these are.
    lane
        The lane.
    group
        The owner when the inputs are divided among the groups; None when every group holds all.
    dense
        Whether zero weights are stored too.
    """
    config = source.layout.config
    read = ReadWords(layer=layer, layout=source.layout).positions(part.span)
    table = TapTable.of(layer, source.layout, divided=group is not None, span=part.span)
    row = positions.astype(np.int64) // config.lanes - part.first_row
    owned = np.flatnonzero((positions % config.lanes == lane) & (row >= 0) & (row < part.rows))
    weight = layer.weight[owned]
    channel, place, ky, kx = np.nonzero(np.ones_like(weight) if dense else weight)
    codes = weight[channel, place, ky, kx]
    inputs, outputs = layer.weight.shape[1], len(layer.weight) // convolution.channel_groups
    position = source.positions[owned[channel] // outputs * inputs + place].astype(np.int64)
    mine = (position >= read.start) & (position < read.stop)
    if group is not None:
        mine &= position % config.groups == group
    channel, ky, kx, codes = channel[mine], ky[mine], kx[mine], codes[mine]
    position = position[mine] - read.start
    if group is not None:
        position //= config.groups
    offset = row[owned[channel]] - kx // table.stride * part.rows
    return _encode(
        table.index(position, ky, kx),
        offset,
        codes,
        lists=table.lists,
    )


def _encode(
    index: NDArray[np.int64],
    rows: NDArray[np.int64],
    weights: NDArray[np.int8],
    *,
    lists: int,
) -> LaneLists:
    """Gather weights of any order into their lists."""
    order = np.lexsort((rows, index))
    codes = weights[order].view(np.uint8)
    return LaneLists(
        entries=(rows[order] % ROW_MODULUS << 8 | codes).astype(np.uint32),
        starts=np.searchsorted(index[order], np.arange(lists + 1)),
    )
