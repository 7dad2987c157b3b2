"""The next combination: least harm at a given load, by measurements of single changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from jpnet_sw.sparsity.choice import solve_choice
from jpnet_sw.tuning.space import Group, Point

__all__ = ["Proposal", "propose"]

_POWERS = (0.5, 1.0, 2.0, 4.0)
"""Steps of a single change: powers of the wanted ratio of loads."""
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

    def measured(self, change: _Change) -> _Change:
        """Return a change with its harm and saving."""
        point = self._now.scaled(change.layers, change.filters)
        return _Change(
            layers=change.layers,
            filters=change.filters,
            harm=self._loss(point) - self.base_loss,
            saving=self.base_load - self.load(point),
        )

    def densities(self, group: Group, ratio: float) -> list[_Change]:
        """Return the changes of a group's density that save."""
        if not group.layers:
            return []
        now = self._now.densities[group.layers[0]]
        found = [
            self.measured(_Change(layers=dict.fromkeys(group.layers, now * ratio**p), filters={}))
            for p in _POWERS
        ]
        return [change for change in found if change.saving > 0]

    def rates(self, group: Group, ratio: float) -> list[_Change]:
        """Return the changes of a group's rate that save, and one that heals."""
        if not group.filters:
            return []
        now = min(
            self._now.rates[group.filters[0]],
            max(self._occupied[name] for name in group.filters),
        )
        found = [
            self.measured(_Change(layers={}, filters=dict.fromkeys(group.filters, rate)))
            for rate in {min(1.0, now * ratio**p) for p in (-_POWERS[0], *_POWERS)}
            if rate != self._now.rates[group.filters[0]]
        ]
        return [change for change in found if change.saving > 0 or change.saving < 0 > change.harm]

    def candidates(self, group: Group, ratio: float) -> list[_Change]:
        """Return all combinations of a group's changes, no change first.

        A group's load is the product of what its density and its rate leave.
        """
        nothing = _Change(layers={}, filters={})
        densities = self.densities(group, ratio)
        own = max(
            (
                change.saving / (1 - change.layers[name] / self._now.densities[name])
                for change in densities
                for name in group.layers[:1]
            ),
            default=0.0,
        )
        rates = self.rates(group, ratio)
        return [
            density.with_rates(rate, own)
            for density in (nothing, *densities)
            for rate in (nothing, *rates)
        ]

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

    Harm is the rise of the loss before any training. Changes of one density or rate at a time are
    measured; harms add up, savings add up over groups and multiply within one. An integer program
    chooses one candidate for each group. The combination's load is measured, and the program solved
    again with a limit that is corrected by the difference, until the choice stays the same.

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
    lists = [
        [change for change in probe.candidates(group, ratio) if isfinite(change.saving)]
        for group in groups
    ]
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
