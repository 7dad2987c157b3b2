"""Filters of another choice on a run's weight-pruned network, fine-tuned and measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jpnet_spec.model_file import load_network
from jpnet_sw.recipe import RecipeConfig, TeacherFile, train
from jpnet_sw.studies.densities import output_densities, total_density
from jpnet_sw.studies.pruned_run import PrunedRun, activation_layers
from jpnet_sw.studies.survivors import integer_survivors

__all__ = ["FineTuning"]

_DENSITY_IMAGES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuning:
    """Where networks of other filters are made from one weight-pruned network.

    Parameters
    ----------
    run
        Whose weight-pruned network.
    folder
        Of everything that is made; what is there for the same network is kept, and a training that
        was stopped goes on.
    data_root
        Folder of the data sets.
    teacher
        The one the run was taught by, if it was.
    quiet
        Show no progress.
    """

    run: PrunedRun
    folder: Path
    data_root: Path | None = None
    teacher: TeacherFile | None = None
    quiet: bool = False

    def measured(self, recipe: RecipeConfig) -> dict[str, Any]:
        """Return what the integer network of a recipe scores on the test images, in percent.

        Parameters
        ----------
        recipe
            The run's but for name, filters and quantisation.

        Raises
        ------
        ValueError
            If the run had another teacher, or data or files are missing or damaged.
        """
        path = train(
            model=recipe.model,
            data=recipe.dataset,
            seed=self.run.seed,
            out=self.folder / self.run.content_hash[:16] / recipe.name,
            data_root=self.data_root,
            resume=True,
            recipe=recipe,
            teacher=self.teacher,
            quiet=self.quiet,
            pruned=self.run.pruned_file,
        )
        network = load_network(path)
        dataset = self.run.dataset(self.data_root)
        images = dataset.test_activations(network.input_shape)[:_DENSITY_IMAGES]
        names = {layer.name for layer in activation_layers(self.run.state(dataset).model)}
        found = output_densities(
            (name, tensor) for name, tensor in integer_survivors(network, images) if name in names
        )
        facts = network.metadata
        return {
            "accuracy_percent": 100 * facts["accuracy_int8"],
            "mac_percent": facts["mac_percent_effective"],
            "activation_percent": 100 * total_density(found),
            "winner_rates": facts["winner_rates"],
        }

    def before(self) -> dict[str, Any]:
        """Return what the float networks without filters score on the test images, in percent."""
        facts = self.run.state(self.run.dataset(self.data_root)).facts
        pruned = facts["layers_weight_pruned"]
        dense = sum(layer["macs_dense"] for layer in facts["layers_dense"])
        return {
            "dense_accuracy_percent": 100 * facts["accuracy_dense"],
            "weight_pruned_accuracy_percent": 100 * facts["accuracy_weight_pruned"],
            "weight_pruned_mac_percent": 100
            * sum(layer["macs_effective"] for layer in pruned)
            / dense,
        }
