"""Where a pruning stage stands, and the schedules that follow from it."""

from dataclasses import dataclass

__all__ = ["Clock", "cubic_density"]


def cubic_density(final: float, progress: float) -> float:
    """Return the density of a pruning round: fast at first, ever finer towards the end.

    Parameters
    ----------
    final
        Density after the last round, 0 to 1.
    progress
        Share of the rounds that are done, 0 to 1.
    """
    return final + (1 - final) * (1 - progress) ** 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """One step of a pruning stage.

    Parameters
    ----------
    step
        Number of the step within the stage, from 0.
    active_steps
        Steps in which the method acts; masks are final after them. At least 1.
    epoch_steps
        Steps of one pass over the training images.
    images
        Number of training images.
    """

    step: int
    active_steps: int
    epoch_steps: int = 1
    images: int = 1

    @property
    def progress(self) -> float:
        """Share of the active steps that lie before this one, at most 1."""
        return min(1.0, self.step / self.active_steps)

    def every(self, steps: int) -> bool:
        """Whether this is the first step of the stage, or a number of steps after one that was."""
        return self.step % steps == 0

    def ramp(self, low: float, high: float) -> float:
        """Return a share that rises from 0 to 1 while the progress goes from `low` to `high`."""
        return min(1.0, max(0.0, (self.progress - low) / max(high - low, 1e-9)))

    def round_begun(self, rounds: int) -> float | None:
        """Return the share of rounds that have begun if one begins with this step, else None.

        Parameters
        ----------
        rounds
            Evenly spread over the active steps, the first at once; at most one for each step.
        """
        rounds = min(rounds, self.active_steps)

        def begun(at: int) -> int:
            return min(rounds, at * rounds // self.active_steps + 1) if at >= 0 else 0

        now = begun(self.step)
        return None if now == begun(self.step - 1) else now / rounds
