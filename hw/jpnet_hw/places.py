"""Places that output rows belong to, and the clusters that take them."""

from collections.abc import Iterable, Sequence

from amaranth.hdl import Array, Const, Module, Signal, Value
from amaranth.utils import exact_log2

from jpnet_spec.config import AcceleratorConfig

__all__ = ["by_cluster", "by_place", "place_of_cluster", "row_turns", "turn_of", "turns_of"]

_PLACES_BELOW = 2
"""Places from a pooling window's to that of its lowest row."""


def place_of_cluster(config: AcceleratorConfig, cluster: Value, context: Value) -> Value:
    """Return which place of a context's image a cluster takes."""
    turn = _of_context(config, [turn % config.clusters for turn in config.turns], context)
    place: Value = (cluster + turn)[: exact_log2(config.clusters)]
    return place


def turn_of(config: AcceleratorConfig, context: Value) -> Value:
    """Return how many clusters further the cluster is that takes a place of a context's image."""
    return _of_context(config, [-turn % config.clusters for turn in config.turns], context)


def turns_of(config: AcceleratorConfig) -> list[int]:
    """Return all values of `turn_of`."""
    return sorted({-turn % config.clusters for turn in config.turns})


def row_turns(config: AcceleratorConfig) -> list[int]:
    """Return how many clusters further a row of a place's pooling window may be read."""
    rows = {
        (turn + below) % config.clusters
        for turn in turns_of(config)
        for below in range(_PLACES_BELOW + 1)
    }
    return sorted(rows)


def by_place(
    m: Module, values: Sequence[Value], turn: Value, turns: Iterable[int], *, name: str
) -> list[Signal]:
    """Return what belongs to each place, given the clusters' values.

    Parameters
    ----------
    m
        Where the choice is made; it is combinational.
    values
        One a cluster, of the same width.
    turn
        How many clusters further than a place its cluster is.
    turns
        What `turn` may be; for anything else the result is 0.
    name
        Of the result.
    """
    return _turned(m, values, (turn, turns), 1, name)


def by_cluster(
    m: Module, values: Sequence[Value], turn: Value, turns: Iterable[int], *, name: str
) -> list[Signal]:
    """Return what belongs to each cluster, given the places' values; as `by_place`."""
    return _turned(m, values, (turn, turns), -1, name)


def _of_context(config: AcceleratorConfig, numbers: list[int], context: Value) -> Value:
    """Return each context's number of a cluster."""
    width = max(1, (config.clusters - 1).bit_length())
    found: Value = Value.cast(Array(Const(number, width) for number in numbers)[context])
    return found


def _turned(
    m: Module, values: Sequence[Value], choice: tuple[Value, Iterable[int]], sign: int, name: str
) -> list[Signal]:
    turn, turns = choice
    found = []
    for number in range(len(values)):
        value = Signal(len(values[number]), name=f"{name}_{number}")
        with m.Switch(turn):
            for further in turns:
                with m.Case(further):
                    m.d.comb += value.eq(values[(number + sign * further) % len(values)])
        found.append(value)
    return found
