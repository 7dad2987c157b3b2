"""The next combination: least harm at a given load, by measurements of single changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from jpnet_sw.sparsity.choice import solve_choice
from jpnet_sw.tuning.space import Group, Point

__all__ = ["Proposal", "propose"]

_POWERS = (0.5, 1.0, 2.0)
"""Steps of a single change: powers of the wanted ratio of loads."""
_HEALING = -0.5
"""The same of a rate that is raised."""
_CORRECTIONS = 4
_SLACK = 0.01
"""Share by which the load may miss its target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What is to be tried next.

    Parameters
    ----------
    point
        The combination.
    predicted, load
        Its load, by adding up single changes and as measured.
    harm
        Rise of the loss before any training, by adding up single changes.
    measurements
        Number of loads that were measured.
    """

    point: Point
    predicted: float
    load: float
    harm: float
    measurements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    """One candidate of a group: other densities, other rates, what they harm and save."""

    layers: dict[str, float]
    filters: dict[str, float]
    harm: float = 0.0
    saving: float = 0.0

    def with_rates(self, other: "_Change", load: float) -> "_Change":
        """Return both changes together.

        Parameters
        ----------
        other
            Of the group's rates.
        load
            The group's own, of which each saves a share.
        """
        both = self.saving * other.saving / load if load > 0 else 0.0
        return _Change(
            layers=self.layers,
            filters=other.filters,
            harm=self.harm + other.harm,
            saving=self.saving + other.saving - both,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Knob:
    """A density or a rate: its changes, and the load that is in proportion to it."""

    changes: tuple[_Change, ...]
    load: float


class _Prober:
    """Measures single changes of a combination."""

    def __init__(
        self,
        now: Point,
        occupied: dict[str, float],
        loss: Callable[[Point], float],
        load: Callable[[Point], float],
    ) -> None:
        self._now, self._occupied = now, occupied
        self._loss, self._load = loss, load
        self.measurements = 0
        self.base_loss, self.base_load = loss(now), self.load(now)

    def load(self, point: Point) -> float:
        """Return a combination's load."""
        self.measurements += 1
        return self._load(point)

    def densities(self, group: Group, ratio: float) -> "_Knob | None":
        """Return the changes of a group's density, if there is any that saves."""
        if not group.layers:
            return None
        now = self._now.densities[group.layers[0]]

        def change(share: float) -> _Change:
            return _Change(layers=dict.fromkeys(group.layers, now * share), filters={})

        return self._knob(change, [ratio**power for power in _POWERS])

    def rates(self, group: Group, ratio: float) -> "_Knob | None":
        """Return the changes of a group's rate, if there is any that saves."""
        if not group.filters:
            return None
        now = self._now.rates[group.filters[0]]
        reach = min(now, max(self._occupied[name] for name in group.filters))

        def change(share: float) -> _Change:
            return _Change(layers={}, filters=dict.fromkeys(group.filters, reach * share))

        powers = (_HEALING, *_POWERS) if now < 1 else _POWERS
        return self._knob(change, [min(ratio**power, 1 / reach) for power in powers])

    def _knob(self, change: Callable[[float], _Change], shares: list[float]) -> "_Knob | None":
        """Return changes to shares of what is there, the last one the least share."""
        least = change(shares[-1])
        saving = self.base_load - self.load(self._now.scaled(least.layers, least.filters))
        if not (isfinite(saving) and saving > 0):
            return None
        load = saving / (1 - shares[-1])
        changes = []
        for share in shares:
            given = change(share)
            harm = self._loss(self._now.scaled(given.layers, given.filters)) - self.base_loss
            if share < 1 or harm < 0:
                changes.append(replace(given, harm=harm, saving=load * (1 - share)))
        return _Knob(changes=tuple(changes), load=load)

    def candidates(self, group: Group, ratio: float) -> list[_Change]:
        """Return all combinations of a group's changes, no change first."""
        nothing = _Change(layers={}, filters={})
        density, rate = self.densities(group, ratio), self.rates(group, ratio)
        densities = (nothing, *(density.changes if density is not None else ()))
        rates = (nothing, *(rate.changes if rate is not None else ()))
        own = density.load if density is not None else 0.0
        return [one.with_rates(other, own) for one in densities for other in rates]

    def together(self, changes: Sequence[_Change]) -> Proposal:
        """Return what changes of all groups come to."""
        point = self._now
        for change in changes:
            point = point.scaled(change.layers, change.filters)
        return Proposal(
            point=point,
            predicted=self.base_load - sum(change.saving for change in changes),
            load=self.load(point),
            harm=sum(change.harm for change in changes),
            measurements=self.measurements,
        )


def propose(
    groups: Sequence[Group],
    now: Point,
    *,
    ratio: float,
    occupied: dict[str, float],
    loss: Callable[[Point], float],
    load: Callable[[Point], float],
) -> Proposal:
    """Return the combination of least harm whose load is at most a share of the present one.

    Harm is the rise of the loss before any training. Densities and rates are changed one at a
    time; the loss of each step and the load of the largest are measured, and the load is taken to
    be linear between. Harms add up, savings add up over groups and multiply within one. An integer
    program chooses one candidate for each group. The combination's load is measured, and the
    program solved again with a limit corrected by the difference, until the choice stays the same.

    Parameters
    ----------
    groups
        Who changes together.
    now
        The present combination.
    ratio
        Wanted load over the present one, above 0 and below 1.
    occupied
        Name of a filtered layer to share of its tensor that is not zero before the filter: lower
        rates begin there.
    loss, load
        Of a combination; an infinite load is never chosen.

    Returns
    -------
    Proposal
        The least one where no combination reaches the load.
    """
    probe = _Prober(now, occupied, loss, load)
    target = ratio * probe.base_load
    lists = [probe.candidates(group, ratio) for group in groups]
    harms = [np.array([change.harm for change in changes]) for changes in lists]
    loads = [np.array([-change.saving for change in changes]) for changes in lists]
    limit = target - probe.base_load
    seen: list[list[int]] = []
    proposals: list[Proposal] = []
    for _ in range(_CORRECTIONS):
        solved = solve_choice(harms, loads, limit)
        if solved is None:
            solved = [int(part.argmin()) for part in loads]
        if solved in seen:
            break
        seen.append(solved)
        found = probe.together(
            [changes[column] for changes, column in zip(lists, solved, strict=True)]
        )
        proposals.append(found)
        limit = target - probe.base_load - (found.load - found.predicted)
    reached = [found for found in proposals if found.load <= (1 + _SLACK) * target]
    if not reached:
        return min(proposals, key=lambda found: found.load)
    return min(reached, key=lambda found: found.harm)
