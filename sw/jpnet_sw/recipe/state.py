"""Everything that a run needs to go on: networks, masks, optimiser, place, history."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import prod, sqrt
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jpnet_spec.artefact import ArtefactError, read_artefact, write_artefact
from jpnet_spec.topn import ThresholdMode, TopN, winners_for_rate
from jpnet_sw.models import Checkpoint, begin_converted, build_model
from jpnet_sw.quantisation import (
    Captured,
    QuantisedNetwork,
    calibrate,
    capture,
    layer_shapes,
    quantise,
)
from jpnet_sw.recipe.config import OptimiserKind, RecipeConfig
from jpnet_sw.recipe.pruning import begin_pruner, check_choices, masks_of, without_channels
from jpnet_sw.sparsity.channels import fit_to
from jpnet_sw.sparsity.masks import WeightMasks
from jpnet_sw.sparsity.pruner import Pruner

__all__ = ["CHECKPOINT_KIND", "Stage", "TrainingState"]

CHECKPOINT_KIND = "checkpoint"
"""Kind of the file that holds a `TrainingState`."""

_DENSE_SETTINGS = (
    *("model", "dataset", "batch_size", "held_out", "crop", "bfloat16"),
    *("optimiser", "augment", "dense"),
)
"""What the dense stage depends on, besides the seed."""
_PRUNED_SETTINGS = (*_DENSE_SETTINGS, "groups", "prune", "distill")
"""What the weight-pruned network depends on, besides seed and teacher."""
_OF_RATES = ("scan", "joint_search")
"""Facts of the choice of winner rates."""


class Stage(StrEnum):
    """The stages in order."""

    DENSE = "dense"
    """Every weight, no filter."""
    PRUNE = "prune"
    """Weight masks become tighter, then stay."""
    TOP_N = "top-n"
    """Static weight masks, dynamic activation masks."""
    QUANTISE = "quantise"
    """The same in integer arithmetic."""
    DONE = "done"
    """Nothing is left to train."""


@dataclass(kw_only=True, slots=True)
class TrainingState:
    """A run between two epochs.

    Random numbers need no place here: each epoch seeds its own generator from the run's seed, the
    stage and the epoch's number.

    Parameters
    ----------
    recipe, seed, image_shape, device
        Of the run.
    model
        The float network.
    masks
        Of its weights; the same layers of `quantised` obey them.
    pruner
        What makes the masks, in the stage PRUNE.
    taught_by
        Whose answers teach all stages, see `jpnet_sw.recipe.teacher.TeacherFile.identity`; empty
        where it is the dense network's.
    teacher
        The finished dense network, from the stage PRUNE on.
    answers
        The teacher's to each training image, once they are wanted; the checkpoint lacks them,
        since the teacher gives them again.
    quantised
        From the stage QUANTISE on.
    output_scales
        The quantised layers' activation scales.
    static_thresholds
        The quantised layers' thresholds, for the mode STATIC.
    optimiser
        Of the current stage, None before its first epoch.
    stage, epoch
        The next epoch to train.
    rates
        Winner rate per filtered layer.
    facts
        Accuracies measured between stages.
    history
        One entry per epoch.
    """

    recipe: RecipeConfig
    seed: int
    image_shape: tuple[int, ...]
    device: torch.device
    model: nn.Module
    masks: WeightMasks
    pruner: Pruner | None = None
    taught_by: dict[str, str] = field(default_factory=dict)
    teacher: nn.Module | None = None
    answers: Tensor | None = None
    quantised: QuantisedNetwork | None = None
    output_scales: list[float] = field(default_factory=list)
    static_thresholds: dict[str, int] = field(default_factory=dict)
    optimiser: torch.optim.Optimizer | None = None
    stage: Stage = Stage.DENSE
    epoch: int = 0
    rates: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def begin(
        cls, recipe: RecipeConfig, *, seed: int, image_shape: tuple[int, ...], device: torch.device
    ) -> "TrainingState":
        """Return a run that has trained nothing yet."""
        torch.manual_seed(seed)
        model = build_model(recipe.model, image_shape).to(device)
        if device.type == "cuda":
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        state = cls(
            recipe=recipe,
            seed=seed,
            image_shape=image_shape,
            device=device,
            model=model,
            masks=masks_of(capture(model)),
        )
        check_choices(recipe, model, state.masks)
        return state

    @property
    def layers(self) -> list[Captured]:
        """The float network's layers."""
        return capture(self.model)

    @property
    def elements(self) -> dict[str, int]:
        """Elements of each layer's tensor as its filter sees it, before pooling."""
        shapes = layer_shapes(self.layers, self.image_shape)
        return {name: prod(sums_shape) for name, (_, sums_shape) in shapes.items()}

    @property
    def trained(self) -> nn.Module:
        """The network that the current stage trains."""
        return self.model if self.quantised is None else self.quantised

    def begin_trained(self, checkpoint: Checkpoint) -> None:
        """Take over a dense network that was trained elsewhere; the stage DENSE is over.

        Parameters
        ----------
        checkpoint
            Of the recipe's model.

        Raises
        ------
        ArtefactError
            If tensors or normalisation do not fit the model.
        """
        checkpoint.fold_into(self.model)
        self.epoch = self.recipe.dense.epochs
        self.facts["warm_start"] = checkpoint.path.name

    def begin_converted(self, checkpoint: Checkpoint, images: Tensor) -> None:
        """Take over a trained network of other blocks, which the stage DENSE adapts.

        Parameters
        ----------
        checkpoint, images
            See `jpnet_sw.models.begin_converted`.

        Raises
        ------
        ArtefactError
            If tensors or normalisation do not fit the model.
        """
        begin_converted(self.model, checkpoint, images)
        self.facts["warm_start"] = checkpoint.path.name

    def start_teacher(self) -> None:
        """Keep a copy of the float network as the teacher."""
        self.teacher = build_model(self.recipe.model, self.image_shape).to(self.device)
        self.teacher.load_state_dict(self.model.state_dict())
        self.teacher.eval().requires_grad_(False)

    def start_pruner(self) -> Pruner:
        """Let the recipe's method begin with the float network's masks."""
        self.pruner = begin_pruner(
            self.recipe, self.model, self.masks, seed=self.seed, device=self.device
        )
        return self.pruner

    def adopt_dense(self, path: Path) -> None:
        """Begin the stage PRUNE with the dense network of another run's checkpoint.

        Raises
        ------
        ArtefactError
            If the file is damaged, or its dense stage was another one.
        """
        header, arrays = read_artefact(path, kind=CHECKPOINT_KIND)
        saved, wanted = header.get("recipe", {}), self.recipe.settings()
        differing = [key for key in _DENSE_SETTINGS if saved.get(key) != wanted[key]]
        if differing or header.get("seed") != self.seed or not header.get("history"):
            raise ArtefactError(
                f"{path}: dense network must be of this recipe's dense stage and seed, "
                f"not of another ({', '.join(differing) or 'seed'})"
            )
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        _load(self.model, _part(tensors, "teacher"))
        dense = [entry for entry in header["history"] if entry["stage"] == Stage.DENSE.value]
        self.history = dense
        self.facts = {key: v for key, v in header["facts"].items() if key.endswith("_dense")}
        self.stage, self.epoch = Stage.PRUNE, 0
        self.start_teacher()
        self.start_pruner()

    def adopt_pruned(self, path: Path) -> None:
        """Begin the stage TOP_N with another run's weight-pruned network; rates are yet to choose.

        Raises
        ------
        ArtefactError
            If the file is damaged, or its stages so far were other ones.
        """
        header, arrays = read_artefact(path, kind=CHECKPOINT_KIND)
        saved, wanted = header.get("recipe", {}), self.recipe.settings()
        differing = [key for key in _PRUNED_SETTINGS if saved.get(key) != wanted[key]]
        if header.get("seed") != self.seed:
            differing.append("seed")
        if header.get("teacher") != self.taught_by:
            differing.append("teacher")
        if differing or (header.get("stage"), header.get("epoch")) != (Stage.TOP_N.value, 0):
            raise ArtefactError(
                f"{path}: weight-pruned network must be of this recipe, seed and teacher, "
                f"not of another ({', '.join(differing) or 'stage'})"
            )
        kept = {key: v for key, v in header["facts"].items() if key not in _OF_RATES}
        self._take_over(path, {**header, "facts": kept, "rates": {}}, arrays)

    def end_pruner(self) -> None:
        """Make the masks final, and remove channels where the method cuts them."""
        assert self.pruner is not None
        self.pruner.finalise()
        self.facts |= self.pruner.facts()
        self.masks = without_channels(self.pruner, self.model, self.masks)
        self.pruner = None

    def set_dropout(self, probability: float) -> None:
        """Set the drop probability after every hidden layer of the float network."""
        for layer in self.layers:
            if layer.dropout is not None:
                layer.dropout.p = probability

    def set_filters(self) -> None:
        """Set the filters to the chosen winner rates, and the dropout after them."""
        config, elements = self.recipe.top_n, self.elements
        for layer in self.layers:
            rate = self.rates.get(layer.name, 1.0)
            if layer.top_n is None:
                continue
            if rate >= 1:
                layer.top_n.top_n = TopN()
                continue
            winners = winners_for_rate(rate, elements[layer.name])
            layer.top_n.top_n = TopN(mode=ThresholdMode.EXACT, winners=winners)
            if layer.dropout is not None:
                layer.dropout.p = config.dropout_factor * sqrt(rate)

    def start_quantised(self, output_scales: list[float]) -> QuantisedNetwork:
        """Make the quantised network of the float network, under the same masks."""
        self.output_scales = output_scales
        self.quantised = quantise(self.layers, output_scales).to(self.device)
        masks = self.masks.masks
        self.masks = WeightMasks({layer.name: layer.weight for layer in self.quantised.weighted()})
        self.masks.load(masks)
        return self.quantised

    def quantise(self, images: Tensor) -> None:
        """Go on in integers, with scales and static thresholds taken from images.

        Parameters
        ----------
        images : float32, shape (images, channels, height, width), 0 to 1
        """
        quantised = self.start_quantised(calibrate(self.layers, images))
        # The median image's exact threshold: about N winners on average.
        self.set_integer_filters(
            {
                name: int(found.median())
                for name, found in quantised.thresholds(images).items()
                if self.recipe.top_n.mode_of(name) is ThresholdMode.STATIC
            }
        )

    def set_integer_filters(self, static_thresholds: dict[str, int]) -> None:
        """Give the quantised network's filters the recipe's mode.

        Parameters
        ----------
        static_thresholds
            Layer name to threshold, for the mode STATIC.
        """
        self.static_thresholds = static_thresholds
        assert self.quantised is not None
        for layer in self.quantised.chain():
            exact = layer.top_n.top_n
            if exact.mode is ThresholdMode.EXACT:
                layer.top_n.top_n = replace(
                    exact,
                    mode=self.recipe.top_n.mode_of(layer.name),
                    sample_stride=self.recipe.top_n.sample_stride,
                    static_threshold=static_thresholds.get(layer.name, 0),
                )

    def start_optimiser(self, learning_rate: float) -> torch.optim.Optimizer:
        """Make the current stage's optimiser."""
        config = self.recipe.optimiser
        parameters: list[dict[str, Any]] = [{"params": list(self.trained.parameters())}]
        method = None if self.pruner is None else self.pruner.method
        own = [] if method is None else list(method.parameters())
        if method is not None and own:
            parameters.append({"params": own, "weight_decay": 0.0, "factor": method.gate_rate})
        if config.kind is OptimiserKind.SGD:
            self.optimiser = torch.optim.SGD(
                parameters,
                lr=learning_rate,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                nesterov=config.momentum > 0,
                fused=True,
            )
        else:
            self.optimiser = torch.optim.Adam(
                parameters, lr=learning_rate, weight_decay=config.weight_decay, fused=True
            )
        return self.optimiser

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        tensors: dict[str, Tensor] = {
            f"model.{name}": value for name, value in self.model.state_dict().items()
        }
        for prefix, module in (("teacher", self.teacher), ("quantised", self.quantised)):
            if module is not None:
                tensors |= {f"{prefix}.{name}": v for name, v in module.state_dict().items()}
        tensors |= {f"mask.{name}": mask for name, mask in self.masks.masks.items()}
        tensors |= {f"shadow.{name}": shadow for name, shadow in self.masks.shadows.items()}
        if self.pruner is not None:
            saved = self.pruner.method.state_dict()
            tensors |= {f"method.{name}": value for name, value in saved.items()}
        if self.optimiser is not None:
            for index, slots in self.optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{index}.{key}": value for key, value in slots.items()}
        header = {
            "recipe": self.recipe.settings(),
            "seed": self.seed,
            "teacher": self.taught_by,
            "stage": self.stage.value,
            "epoch": self.epoch,
            "output_scales": self.output_scales,
            "static_thresholds": self.static_thresholds,
            "rates": self.rates,
            "facts": self.facts,
            "history": self.history,
        }
        arrays = {name: value.detach().cpu().numpy() for name, value in tensors.items()}
        write_artefact(path, kind=CHECKPOINT_KIND, header=header, tensors=arrays)

    def restore(self, path: Path) -> None:
        """Take over a checkpoint.

        Raises
        ------
        ArtefactError
            If the file is damaged, or was written by another recipe, seed or teacher.
        """
        header, arrays = read_artefact(path, kind=CHECKPOINT_KIND)
        wanted = {"recipe": self.recipe.settings(), "seed": self.seed, "teacher": self.taught_by}
        for key, value in wanted.items():
            if header.get(key) != value:
                raise ArtefactError(
                    f"{path}: checkpoint must be of this {key} to resume, not of another"
                )
        self._take_over(path, header, arrays)

    def _take_over(
        self, path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray]
    ) -> None:
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        try:
            self._restore(header, tensors)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ArtefactError(f"{path}: malformed checkpoint, {reason}") from error

    def _restore(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.stage, self.epoch = Stage(header["stage"]), int(header["epoch"])
        self.rates, self.facts = dict(header["rates"]), dict(header["facts"])
        self.history = list(header["history"])
        # Scales are taken from the weights at the beginning of quantisation, which `model` keeps.
        saved = _part(tensors, "model")
        fit_to(self.model, saved)
        _load(self.model, saved)
        self.masks = masks_of(self.layers)
        if _part(tensors, "teacher"):
            self.start_teacher()
            assert self.teacher is not None
            _load(self.teacher, _part(tensors, "teacher"))
        self.masks.load(_part(tensors, "mask"), _part(tensors, "shadow"))
        if self.stage is Stage.PRUNE:
            self.start_pruner().load(_part(tensors, "method"))
        self.set_filters()
        if header["output_scales"]:
            quantised = self.start_quantised([float(scale) for scale in header["output_scales"]])
            _load(quantised, _part(tensors, "quantised"))
            self.set_integer_filters(dict(header["static_thresholds"]))
        slots = _part(tensors, "optimiser")
        self.optimiser = None
        if slots:
            optimiser = self.start_optimiser(1.0)
            groups = optimiser.state_dict()["param_groups"]
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in slots.items():
                index, key = name.split(".")
                # A count has no axes; the file cannot hold such a tensor.
                state.setdefault(int(index), {})[key] = (
                    value.reshape(()).cpu() if key == "step" else value
                )
            optimiser.load_state_dict({"state": state, "param_groups": groups})


def _load(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module its parameters and buffers; the file holds a count as one element."""
    wanted = module.state_dict()
    module.load_state_dict(
        {
            name: v.reshape(wanted[name].shape) if name in wanted else v
            for name, v in tensors.items()
        }
    )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name[len(start) :]: v for name, v in tensors.items() if name.startswith(start)}
