"""Compares everything a simulation did with the integer network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.read_counts import expected_reads
from jpnet_cosim.runner import NativeRun
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_spec.network import INPUT, IntegerNetwork, LayerTrace
from jpnet_spec.schedule import Schedule

__all__ = ["Comparison", "Difference", "Subject", "compare", "compare_counters"]


class Subject(StrEnum):
    """What was compared."""

    TENSOR = "tensor"
    """A layer's stored output."""
    THRESHOLD = "threshold"
    """A layer's threshold."""
    RESULT = "result"
    """The result in memory."""
    EXCESS = "unexpected row or threshold"
    """Something the schedule does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One place where the hardware and the integer network differ.

    Parameters
    ----------
    subject
        What was compared.
    image, layer
        Image number and layer name, or instruction number where no layer belongs to it.
    channel, position
        Element of the tensor, the position in row-major order; the channel is ``None`` for padding,
        whose position is its place in the order of the bus, and for thresholds.
    expected, got
        Values; ``got`` is ``None`` where nothing was written, or more than once.
    """

    subject: Subject
    image: int
    layer: str
    channel: int | None = None
    position: int | None = None
    expected: int | None = None
    got: int | None = None

    def __str__(self) -> str:
        place = f"image {self.image}, layer {self.layer!r}"
        if self.subject in (Subject.TENSOR, Subject.RESULT):
            channel = "padding" if self.channel is None else f"channel {self.channel}"
            place += f", {channel}, position {self.position}"
        got = "nothing, or more than one value" if self.got is None else self.got
        return f"{self.subject}: {place}: expected {self.expected}, got {got}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Outcome of a comparison.

    Parameters
    ----------
    images, values
        How many images and how many values were compared.
    mismatches
        How many of the values differ.
    by_layer
        Mismatches of each layer, tensor and threshold together.
    first
        The difference of the earliest image, in it of the earliest layer.
    """

    images: int
    values: int
    mismatches: int
    by_layer: Mapping[str, int]
    first: Difference | None

    def __str__(self) -> str:
        if self.first is None:
            return f"{self.images} images, {self.values} values compared: all equal"
        return (
            f"{self.mismatches} of {self.values} values of {self.images} images differ; "
            f"first difference: {self.first}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Mismatches of one subject in one layer, with the first of them."""

    layer: str
    order: tuple[int, int]
    values: int
    mismatches: int
    first: Difference | None


def _gather(
    records: NDArray[np.void], value: str, images: int, rows: int
) -> tuple[NDArray, NDArray[np.bool_]]:
    """Return values by image and row, and which were written exactly once."""
    index = records["image"].astype(np.int64) * rows
    index += records["row"] if "row" in (records.dtype.names or ()) else 0
    width = records[value].shape[1:]
    table = np.zeros((images * rows, *width), dtype=np.int64 if not width else np.int8)
    table[index] = records[value]
    once = np.bincount(index, minlength=images * rows) == 1
    return table.reshape(images, rows, *width), once.reshape(images, rows)


def _compare_tensor(
    subject: Subject,
    layer: str,
    order: tuple[int, int],
    *,
    positions: NDArray[np.int32],
    expected: NDArray[np.int8],
    got: NDArray[np.int8],
    written: NDArray[np.bool_],
    stored: NDArray[np.bool_],
) -> _Found:
    """Compare in physical order, padding that is stored included, which must be 0."""
    physical = np.zeros(got.shape, dtype=np.int8)
    physical[:, positions] = expected.reshape(len(expected), -1)
    wrong = ((physical != got) | ~written) & stored
    count = int(np.count_nonzero(wrong))
    first = None
    if count:
        image = int(np.argmax(wrong.any(axis=1)))
        elements = np.full(got.shape[1], len(positions), dtype=np.int64)
        elements[positions] = np.arange(len(positions))
        places = np.flatnonzero(wrong[image])
        place = int(places[np.argmin(elements[places])])
        channel, position = divmod(int(elements[place]), prod(expected.shape[2:]))
        is_padding = elements[place] == len(positions)
        first = Difference(
            subject=subject,
            image=image,
            layer=layer,
            channel=None if is_padding else channel,
            position=place if is_padding else position,
            expected=int(physical[image, place]),
            got=int(got[image, place]) if written[image, place] else None,
        )
    values = len(got) * int(np.count_nonzero(stored))
    return _Found(layer=layer, order=order, values=values, mismatches=count, first=first)


def _compare_threshold(
    layer: str,
    order: tuple[int, int],
    *,
    expected: NDArray[np.int64],
    got: NDArray[np.int64],
    written: NDArray[np.bool_],
) -> _Found:
    wrong = (expected != got) | ~written
    count = int(np.count_nonzero(wrong))
    first = None
    if count:
        image = int(np.argmax(wrong))
        first = Difference(
            subject=Subject.THRESHOLD,
            image=image,
            layer=layer,
            expected=int(expected[image]),
            got=int(got[image]) if written[image] else None,
        )
    return _Found(layer=layer, order=order, values=wrong.size, mismatches=count, first=first)


def _layers(schedule: Schedule, records: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the layer of each record; one past the last where its instruction is unknown.

    A threshold is that of the second tensor where there is one.
    """
    layers = np.append(schedule.instruction_layers, len(schedule.layers))
    found: NDArray[np.int64] = layers[np.minimum(records["layer"], len(layers) - 1)]
    names = {plan.name: index for index, plan in enumerate(schedule.layers)}
    second = np.arange(len(schedule.layers) + 1)
    for index, plan in enumerate(schedule.layers):
        if plan.second_of is not None:
            second[names[plan.second_of]] = index
    is_second = records["second"] if "second" in (records.dtype.names or ()) else True
    return np.where(is_second, second[found], found)


def _excess(
    schedule: Schedule, records: NDArray[np.void], images: int
) -> tuple[NDArray[np.void], _Found | None]:
    """Split off the records that no layer of the schedule accounts for."""
    valid = (records["image"] < images) & (records["layer"] < len(schedule.instruction_layers))
    if "row" in (records.dtype.names or ()):
        for index, plan in enumerate(schedule.layers):
            mine = valid & (_layers(schedule, records) == index)
            stored = plan.stored_rows(schedule.config.lanes)
            row = np.minimum(records["row"][mine], plan.rows - 1)
            valid[mine] = (row == records["row"][mine]) & stored[row]
    if valid.all():
        return records, None
    outside = records[~valid]
    first = outside[0]
    found = _Found(
        layer=f"instruction {int(first['layer'])}",
        order=(int(first["image"]), int(first["layer"])),
        values=0,
        mismatches=len(outside),
        first=Difference(
            subject=Subject.EXCESS,
            image=int(first["image"]),
            layer=f"instruction {int(first['layer'])}",
        ),
    )
    return records[valid], found


def _findings(
    schedule: Schedule, traces: Mapping[str, LayerTrace], run: NativeRun
) -> Iterator[_Found]:
    images, lanes = len(run.results), schedule.config.lanes
    rows, excess_rows = _excess(schedule, run.rows, images)
    thresholds, excess_thresholds = _excess(schedule, run.thresholds, images)
    yield from (found for found in (excess_rows, excess_thresholds) if found is not None)
    for index, plan in enumerate(schedule.layers):
        trace = traces[plan.name]
        mine = rows[_layers(schedule, rows) == index]
        table, once = _gather(mine, "acts", images, plan.rows)
        yield _compare_tensor(
            Subject.TENSOR,
            plan.name,
            (index, 0),
            positions=plan.positions,
            expected=trace.tensor,
            got=table.reshape(images, -1),
            written=np.repeat(once, lanes, axis=1),
            stored=np.repeat(plan.stored_rows(lanes), lanes),
        )
        if any(other.second_of == plan.name for other in schedule.layers):
            continue
        mine = thresholds[_layers(schedule, thresholds) == index]
        found, once = _gather(mine, "threshold", images, 1)
        yield _compare_threshold(
            plan.name,
            (index, 1),
            expected=trace.threshold,
            got=found[:, 0],
            written=once[:, 0],
        )
    plan = schedule.layers[-1]
    stored = np.ones(run.results.shape[1], dtype=np.bool_)
    stored[: plan.rows * lanes] = np.repeat(plan.stored_rows(lanes), lanes)
    yield _compare_tensor(
        Subject.RESULT,
        plan.name,
        (len(schedule.layers), 0),
        positions=plan.positions,
        expected=traces[plan.name].tensor,
        got=run.results,
        written=np.ones(run.results.shape, dtype=np.bool_),
        stored=stored,
    )


def compare(schedule: Schedule, traces: Mapping[str, LayerTrace], run: NativeRun) -> Comparison:
    """Compare every layer's tensor and threshold, and the results, of every image.

    Parameters
    ----------
    schedule
        Its maps bring the hardware's order back to channels.
    traces
        `jpnet_spec.network.IntegerNetwork.run` on the same images.
    run
        The simulation.
    """
    findings = list(_findings(schedule, traces, run))
    by_layer = {plan.name: 0 for plan in schedule.layers}
    for found in findings:
        by_layer[found.layer] = by_layer.get(found.layer, 0) + found.mismatches
    wrong = [found for found in findings if found.first is not None]
    first = min(wrong, key=lambda found: (_image(found), found.order), default=None)
    return Comparison(
        images=len(run.results),
        values=sum(found.values for found in findings),
        mismatches=sum(found.mismatches for found in findings),
        by_layer=by_layer,
        first=None if first is None else first.first,
    )


def _image(found: _Found) -> int:
    return -1 if found.first is None else found.first.image


def _shortcut_products(
    network: IntegerNetwork, traces: Mapping[str, LayerTrace], images: NDArray[np.int8]
) -> int:
    """Return the products of shortcuts that the lanes sum."""
    total = 0
    for layer in network.layers:
        shortcut = layer.shortcut
        if shortcut is None:
            continue
        if shortcut.stride == 1 and shortcut.input_shape[0] == len(layer.weight):
            continue
        source = layer.inputs[1]
        tensor = images if source == INPUT else traces[source].tensor[: len(images)]
        total += int(shortcut.addend((tensor != 0).astype(np.int8), len(layer.weight)).sum())
    return total


def compare_counters(
    network: IntegerNetwork,
    schedule: Schedule,
    traces: Mapping[str, LayerTrace],
    run: NativeRun,
    images: NDArray[np.int8],
) -> dict[Counter, tuple[int, int]]:
    """Return the counters that differ from the integer network, as (expected, got).

    The lanes issue a product for each element of a shortcut that they sum. The counter
    `Counter.CYCLES` is compared with the sum of what the lanes did in each cycle, divided by the
    lanes; products are not compared where zeros are issued, too.

    Parameters
    ----------
    network
        What was compiled.
    schedule, traces, run
        As of `compare`.
    images : int8, shape (images, *input_shape)
        What ran.
    """
    got = run.counters
    lane_cycles = got[Counter.MACS] + sum(got[counter] for counter in STALL_COUNTERS)
    expected = {Counter.CYCLES: lane_cycles // schedule.config.mac_units}
    expected |= expected_reads(schedule, traces, images)
    if not schedule.dense:
        macs = sum(int(trace.macs_effective.sum()) for trace in traces.values())
        expected[Counter.MACS] = macs + _shortcut_products(network, traces, images)
    return {
        counter: (value, got[counter])
        for counter, value in expected.items()
        if got[counter] != value
    }
