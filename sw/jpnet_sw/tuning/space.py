"""What is searched: a density for each layer, a winner rate for each filter, and who shares one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Family", "Group", "Point", "groups_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One combination.

    Parameters
    ----------
    densities
        Layer name to share of living weights.
    rates
        Name of a filtered layer to winner rate, 1 without a filter.
    """

    densities: dict[str, float]
    rates: dict[str, float]

    def scaled(self, layers: dict[str, float], filters: dict[str, float]) -> "Point":
        """Return the combination with other densities and rates for some layers."""
        return Point(densities=self.densities | layers, rates=self.rates | filters)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Layers and filters that change together.

    Parameters
    ----------
    layers
        Which share a density.
    filters
        Which share a winner rate.
    """

    layers: tuple[str, ...]
    filters: tuple[str, ...]


class Family(StrEnum):
    """Which combinations are searched."""

    JOINT = "joint"
    """Each layer its own density, each filter its own winner rate."""
    ONE_RATE = "one-rate"
    """Each layer its own density, one winner rate for all."""
    UNIFORM = "uniform"
    """One density and one winner rate for all."""


def groups_of(family: Family, inputs: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
    """Return the groups of a family.

    A layer is grouped with the filters of what it reads, since the pairs that its multipliers
    meet are the product of the two.

    Parameters
    ----------
    family
        Which combinations.
    inputs
        Name of each layer with weights to the filtered layers that it reads, in execution order; a
        filter that several layers read goes with the first.
    """
    read = tuple(dict.fromkeys(name for filters in inputs.values() for name in filters))
    if family is Family.UNIFORM:
        return (Group(layers=tuple(inputs), filters=read),)
    if family is Family.ONE_RATE:
        alone = tuple(Group(layers=(layer,), filters=()) for layer in inputs)
        return (*alone, Group(layers=(), filters=read)) if read else alone
    taken: set[str] = set()
    groups = []
    for layer, filters in inputs.items():
        own = tuple(name for name in filters if name not in taken)
        taken.update(own)
        groups.append(Group(layers=(layer,), filters=own))
    return tuple(groups)
