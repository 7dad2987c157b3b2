"""The rounds of a search: propose, train, keep what stays within the tolerance."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import isfinite, isinf, sqrt
from typing import Any, Protocol

from jpnet_sw.tuning.proposal import propose
from jpnet_sw.tuning.space import Group, Point

__all__ = ["Load", "Round", "Searched", "TuneConfig", "run_rounds"]

_FINEST = 0.97
"""No round wants less than 3 % fewer cycles."""
_BOLDER = 1.4
"""Power of the ratio after a network that was kept; its square root is taken after others."""


class Load(StrEnum):
    """What a round makes less of."""

    WEIGHTS = "weights"
    """Living weights: until the network fits the accelerator, so that there are cycles."""
    CYCLES = "cycles"
    """Predicted cycles an image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneConfig:
    """A search's tolerance and budget.

    Parameters
    ----------
    tolerance_percent
        Largest drop of the held-out accuracy against the dense network, in percentage points.
    rounds
        How many networks are tried.
    epochs
        Passes over the training images in each round; below 1, a share of them.
    final_epochs
        Passes of the chosen network, in integers.
    ratio
        Cycles that the first rounds want, over those before.
    images
        Held-out images that measure the loss under single changes.
    cycle_images
        Held-out images of which the cycles are predicted, and training images by which the
        compiler deals channels to lanes.
    """

    tolerance_percent: float = 0.5
    rounds: int = 16
    epochs: float = 1
    final_epochs: int = 2
    ratio: float = 0.5
    images: int = 500
    cycle_images: int = 32

    def __post_init__(self) -> None:
        ranges = {
            "tolerance_percent": (0, 100),
            "rounds": (1, 1000),
            "epochs": (0.01, 1000),
            "final_epochs": (0, 1000),
            "ratio": (0.05, _FINEST),
            "images": (1, 1_000_000),
            "cycle_images": (1, 10_000),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(
                    f"TuneConfig.{name} must be between {low} and {high}, not {value!r}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One network that was tried.

    Parameters
    ----------
    number
        From 1.
    point
        Its densities and rates.
    load
        What the round made less of.
    ratio
        Wanted load over that of the last network that was kept.
    predicted
        That load of the network, by adding up single changes.
    weights
        Living weights.
    cycles
        Predicted cycles an image after the training; infinite where it does not fit.
    accuracy_percent
        On the held-out images, after the training.
    kept
        Whether the accuracy is within the tolerance: the next round begins here.
    """

    number: int
    point: Point
    load: Load
    ratio: float
    predicted: float
    weights: int
    cycles: float
    accuracy_percent: float
    kept: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; no prediction is None."""
        cycles = self.cycles if isfinite(self.cycles) else None
        return asdict(self) | {"load": self.load.value, "cycles": cycles}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Round":
        """Return what `as_dict` has written."""
        cycles = float("inf") if values["cycles"] is None else values["cycles"]
        point = Point(**values["point"])
        return cls(**values | {"point": point, "load": Load(values["load"]), "cycles": cycles})


class Searched(Protocol):
    """A network whose combination is searched."""

    @property
    def point(self) -> Point:
        """The present combination."""

    def occupied(self) -> dict[str, float]:
        """Return the share of each filter's tensor that is not zero before the filter."""

    def loss(self, point: Point) -> float:
        """Return the loss of the present weights under a combination."""

    def load(self, point: Point, kind: Load) -> float:
        """Return a load of the present weights under a combination."""

    def train(self, point: Point, number: int) -> float:
        """Train the present network under a combination; return its accuracy in percent."""

    def undo(self) -> None:
        """Go back to the network before the last training."""


def _next_ratio(config: TuneConfig, rounds: Sequence[Round]) -> float:
    """Return the wanted share: finer after a network that was not kept, bolder after others."""
    ratio = config.ratio
    for tried in rounds:
        ratio = max(config.ratio, ratio**_BOLDER) if tried.kept else min(_FINEST, sqrt(ratio))
    return ratio


def run_rounds(
    network: Searched,
    groups: Sequence[Group],
    config: TuneConfig,
    *,
    floor_percent: float,
    done: Sequence[Round] = (),
) -> Iterator[Round]:
    """Search, yielding each round, after which the network may be saved.

    Each round wants a share of the last kept network's cycles: `propose` says how, the network
    is trained, and kept if its accuracy is at least the floor. Otherwise it is undone, and the
    next round takes a smaller step; after a kept network the steps grow again. While the network
    does not fit, the rounds remove weights, in steps twice as large.

    Parameters
    ----------
    network
        Changed in place; with all rounds done it is the last kept one.
    groups
        What is searched.
    config
        Budget and first step.
    floor_percent
        Least accuracy.
    done
        Rounds of the same search that the network has been through.
    """
    rounds = list(done)
    for number in range(len(rounds) + 1, config.rounds + 1):
        cycles = network.load(network.point, Load.CYCLES)
        kind = Load.WEIGHTS if isinf(cycles) else Load.CYCLES
        ratio = _next_ratio(config, rounds)
        found = propose(
            groups,
            network.point,
            ratio=ratio**2 if kind is Load.WEIGHTS else ratio,
            occupied=network.occupied(),
            loss=network.loss,
            load=lambda point, kind=kind: network.load(point, kind),  # type: ignore[misc]
        )
        accuracy = network.train(found.point, number)
        kept = accuracy >= floor_percent
        rounds.append(
            Round(
                number=number,
                point=found.point,
                load=kind,
                ratio=ratio,
                predicted=found.predicted,
                weights=int(network.load(network.point, Load.WEIGHTS)),
                cycles=network.load(network.point, Load.CYCLES),
                accuracy_percent=accuracy,
                kept=kept,
            )
        )
        yield rounds[-1]
        if not kept:
            network.undo()
