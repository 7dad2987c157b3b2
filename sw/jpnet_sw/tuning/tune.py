"""A search from the dense network to the model file's content."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jpnet_spec.artefact import ArtefactError, read_artefact
from jpnet_spec.network import IntegerNetwork
from jpnet_sw.data import Dataset, centre_crop, load_dataset
from jpnet_sw.metrics import accuracy
from jpnet_sw.models import read_checkpoint
from jpnet_sw.recipe import RecipeConfig, preset
from jpnet_sw.recipe.finished import finished_network
from jpnet_sw.recipe.images import float_images, split_held_out
from jpnet_sw.recipe.progress import TrainingProgress
from jpnet_sw.recipe.stages import Run, run_stages
from jpnet_sw.recipe.state import Stage, TrainingState
from jpnet_sw.recipe.threads import one_thread
from jpnet_sw.recipe.workers import training_device
from jpnet_sw.tuning.network import CycleCount, TunedNetwork, train_epochs
from jpnet_sw.tuning.rounds import Round, TuneConfig, run_rounds
from jpnet_sw.tuning.space import Family, groups_of

__all__ = ["Search", "Tuned", "tune"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What is searched for which accelerator.

    Parameters
    ----------
    model, data
        Names of an architecture and a data set that have a recipe.
    accelerator
        Parameters of the accelerator that the cycles are predicted for.
    family
        Which combinations are tried.
    config
        Tolerance and budget.
    seed
        Decides everything random.
    """

    model: str
    data: str
    accelerator: dict[str, Any]
    family: Family
    config: TuneConfig
    seed: int

    def settings(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self) | {"family": self.family.value}

    def is_continued_by(self, settings: dict[str, Any]) -> bool:
        """Return whether a search of some settings is this one but for the number of rounds."""
        own, other = self.settings(), {**settings, "config": dict(settings.get("config", {}))}
        for values in (own, other):
            values["config"].pop("rounds", None)
        return own == other


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tuned:
    """What a search found.

    Parameters
    ----------
    network
        With fewest cycles within the tolerance, or else the most accurate one whose cycles are
        predicted; its metadata has the accuracies.
    dense_percent
        Held-out accuracy of the dense network.
    accuracy_percent
        Of the integer network on the same images.
    within
        Whether that is within the tolerance.
    chosen
        Number of the round that it comes from.
    rounds
        Everything that was tried.
    """

    network: IntegerNetwork
    dense_percent: float
    accuracy_percent: float
    within: bool
    chosen: int
    rounds: tuple[Round, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Tuning:
    """A search at work."""

    search: Search
    cycles: CycleCount
    dataset: Dataset
    recipe: RecipeConfig
    device: torch.device
    folder: Path
    progress: TrainingProgress

    def run(self) -> Run:
        """Return a run that has trained nothing yet."""
        shape = self.recipe.image_shape(self.dataset.image_shape)
        state = TrainingState.begin(
            self.recipe, seed=self.search.seed, image_shape=shape, device=self.device
        )
        images = float_images(centre_crop(self.dataset.test_images, shape), self.device)
        labels = torch.from_numpy(self.dataset.test_labels.astype(np.int64)).to(self.device)
        return Run(
            state=state,
            images=split_held_out(self.dataset, self.recipe, self.device),
            progress=self.progress,
            test_accuracy=lambda: accuracy(state.trained, images, labels),
        )

    def file(self, number: int) -> Path:
        """Return where a round is kept."""
        return self.folder / f"round-{number:02d}.safetensors"

    def begin_dense(self, run: Run, dense: Path, warm_start: Path | None) -> None:
        """Bring a run to the end of its dense stage, by training where nothing else gives it."""
        state, partial = run.state, dense.with_name(f"{dense.stem}-part.safetensors")
        if warm_start is not None:
            state.begin_trained(read_checkpoint(warm_start, channels=state.image_shape[0]))
        elif dense.is_file():
            state.adopt_dense(dense)
        elif partial.is_file():
            state.restore(partial)
        stages = run_stages(run)
        while state.stage is Stage.DENSE:
            next(stages)
            if warm_start is None:
                state.save(partial)
        if warm_start is None and not dense.is_file():
            partial.replace(dense)
        partial.unlink(missing_ok=True)
        state.end_pruner()
        state.stage, state.epoch = Stage.TOP_N, 0

    def past(self) -> list[Round]:
        """Return the rounds that are kept in files.

        Raises
        ------
        ArtefactError
            If they are of another search.
        """
        found: list[Round] = []
        while (
            len(found) < self.search.config.rounds and (path := self.file(len(found) + 1)).is_file()
        ):
            header, _ = read_artefact(path, kind="checkpoint")
            facts = header["facts"]
            if not self.search.is_continued_by(facts.get("search", {})):
                raise ArtefactError(
                    f"{path}: round must be of this search to resume, not of another"
                )
            found.append(Round.from_dict(facts["round"]))
        return found

    def rounds(self, run: Run, network: TunedNetwork, done: list[Round]) -> Iterator[Round]:
        """Search on, keeping each round in a file."""
        config, state = self.search.config, run.state
        family = self.search.family
        floor = 100 * state.facts["held_out_accuracy_dense"] - config.tolerance_percent
        groups = groups_of(family, network.inputs)
        for found in run_rounds(network, groups, config, floor_percent=floor, done=done):
            state.facts |= {"search": self.search.settings(), "round": found.as_dict()}
            state.save(self.file(found.number))
            cycles = f"{found.cycles:,.0f} cycles" if isfinite(found.cycles) else "too large"
            note = f"{found.accuracy_percent:.2f} %, {cycles}{'' if found.kept else ', undone'}"
            self.progress.update(f"tune {family.value}", found.number, config.rounds, note)
            yield found

    def finish(self, rounds: list[Round]) -> Tuned:
        """Return the network of fewest cycles that is within the tolerance in integers, too.

        Where there is none, it is the most accurate one that fits.

        Raises
        ------
        ValueError
            If no network fits.
        """
        known = [found for found in rounds if isfinite(found.cycles)]
        if not known:
            raise ValueError(
                f"rounds must be enough for a network that fits, not {len(rounds)}: "
                f"{rounds[-1].weights} weights are left"
            )
        kept = sorted((one for one in known if one.kept), key=lambda found: found.cycles)
        for found in kept:
            tuned = self.in_integers(found, rounds)
            if tuned.within:
                return tuned
        best = max(known, key=lambda found: found.accuracy_percent)
        return self.in_integers(best, rounds)

    def in_integers(self, found: Round, rounds: list[Round]) -> Tuned:
        """Train the network of a round on in integers."""
        config, run = self.search.config, self.run()
        state = run.state
        state.restore(self.file(found.number))
        state.facts["search"] = self.search.settings()
        state.facts["accuracy_jp"] = run.test_accuracy()
        state.stage = Stage.QUANTISE
        state.quantise(run.images.calibration_images)
        train_epochs(
            run,
            name="tune integers",
            epochs=config.final_epochs,
            learning_rate=self.recipe.quantise.learning_rate,
        )
        reached = 100 * run.held_out_accuracy()
        stage = f"tune {self.search.family.value} integers"
        self.progress.update(stage, 1, 1, f"round {found.number}, {reached:.2f} %")
        dense = 100 * state.facts["held_out_accuracy_dense"]
        network, _ = finished_network(state, self.dataset)
        return Tuned(
            network=network,
            dense_percent=dense,
            accuracy_percent=reached,
            within=reached >= dense - config.tolerance_percent,
            chosen=found.number,
            rounds=tuple(rounds),
        )


def tune(
    search: Search,
    cycles: CycleCount,
    *,
    folder: Path,
    dense: Path,
    data_root: Path | None = None,
    warm_start: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    quiet: bool = False,
) -> Tuned:
    """Search the densities and winner rates of fewest cycles within a tolerance.

    From the dense network, rounds of `jpnet_sw.tuning.rounds.run_rounds`; then the network of
    fewest cycles is trained on in integers. All choices are made on training images.

    Parameters
    ----------
    search
        What and for which accelerator.
    cycles
        Predicts the cycles of an integer network on that accelerator.
    folder
        Each round's network is kept here.
    dense
        Checkpoint of the finished dense stage, taken over where the file exists, else written.
    data_root
        The user's folder of data sets; None downloads.
    warm_start
        A trained dense network instead, see `jpnet_sw.models.read_checkpoint`.
    resume
        Go on after the last round that is kept in a file, to the same bits; the search may have
        more or fewer rounds than before.
    device
        Torch device; CUDA where there is one, else the CPU.
    quiet
        Show no progress.

    Raises
    ------
    ValueError
        If a name is unknown, data is missing or damaged, the accelerator does not fit, the rounds
        are of another search, or too few.
    """
    recipe = preset(search.model, search.data)
    dataset = load_dataset(search.data, data_root)
    with one_thread(), TrainingProgress(recipe, quiet=quiet) as progress:
        tuning = _Tuning(
            search=search,
            cycles=cycles,
            dataset=dataset,
            recipe=recipe,
            device=training_device(device),
            folder=folder,
            progress=progress,
        )
        run = tuning.run()
        TunedNetwork(run, search.config, cycles).check_fits()
        done = tuning.past() if resume else []
        kept = [found for found in done if found.kept]
        if kept:
            run.state.restore(tuning.file(kept[-1].number))
        else:
            tuning.begin_dense(run, dense, warm_start)
        network = TunedNetwork(
            run, search.config, cycles, densities=kept[-1].point.densities if kept else None
        )
        if not resume:
            for path in folder.glob("round-*.safetensors"):
                path.unlink()
        return tuning.finish([*done, *tuning.rounds(run, network, done)])
