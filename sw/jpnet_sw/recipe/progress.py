"""Progress bars with accuracy and density."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jpnet_sw.recipe.config import RecipeConfig

__all__ = ["TrainingProgress"]


class TrainingProgress:
    """One bar per stage on the error output; without a terminal, one line per epoch.

    Parameters
    ----------
    recipe
        Its name is shown.
    quiet
        Show nothing.
    """

    def __init__(self, recipe: RecipeConfig, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._name = recipe.name
        self._lines = not quiet and not console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description:>24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or self._lines,
        )
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> "TrainingProgress":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def update(self, stage: str, epoch: int, epochs: int, note: str) -> None:
        """Show how far a stage has come.

        Parameters
        ----------
        stage
            Its name.
        epoch, epochs
            Finished and in all.
        note
            Accuracy and density.
        """
        if self._lines:
            print(f"{self._name} {stage} {epoch}/{epochs} {note}", file=sys.stderr, flush=True)
            return
        if stage not in self._tasks:
            title = f"{self._name} {stage}"
            self._tasks[stage] = self._bars.add_task(title, total=epochs, note="")
        self._bars.update(self._tasks[stage], completed=epoch, note=note)  # type: ignore[arg-type]
