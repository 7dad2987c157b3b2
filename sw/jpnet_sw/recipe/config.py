"""Parameters of the recipe's stages."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from typing import Any

from jpnet_spec.topn import SAMPLE_STRIDE_MAX, ThresholdMode

__all__ = [
    "AugmentConfig",
    "DenseConfig",
    "DistillConfig",
    "FilterConfig",
    "OptimiserConfig",
    "OptimiserKind",
    "PruneConfig",
    "QuantiseConfig",
    "RecipeConfig",
    "TeacherView",
]


def _check_range(owner: object, name: str, low: float, high: float) -> None:
    value = getattr(owner, name)
    if not (isfinite(value) and low <= value <= high):
        raise ValueError(
            f"{type(owner).__name__}.{name} must be between {low:g} and {high:g}, not {value!r}"
        )


def _check_stage(owner: Any) -> None:
    _check_range(owner, "epochs", 0, 100_000)
    if not (isfinite(owner.learning_rate) and owner.learning_rate > 0):
        raise ValueError(
            f"{type(owner).__name__}.learning_rate must be positive, not {owner.learning_rate!r}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """Largest random deformation of a training image; all 0 switches it off.

    Parameters
    ----------
    rotation_radians, scale, shear
        Of the affine map.
    shift
        As a share of half the image's side.
    flip
        Whether half of the images are mirrored, left to right.
    pad
        Black pixels around the image, from which its size is cut anywhere.
    """

    rotation_radians: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    flip: bool = False
    pad: int = 0

    def __post_init__(self) -> None:
        _check_range(self, "pad", 0, 1000)
        for name in ("rotation_radians", "scale", "shear", "shift"):
            _check_range(self, name, 0, 1)

    @property
    def affine(self) -> bool:
        """Whether anything is deformed by an affine map."""
        return any((self.rotation_radians, self.scale, self.shear, self.shift))


class OptimiserKind(StrEnum):
    """The optimisers."""

    ADAM = "adam"
    SGD = "sgd"
    """With Nesterov's momentum."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserConfig:
    """What turns gradients into steps, in every stage.

    Parameters
    ----------
    kind
        The optimiser.
    momentum
        Of SGD.
    weight_decay
        Added to the gradient, times the weight.
    """

    kind: OptimiserKind = OptimiserKind.ADAM
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check_range(self, "momentum", 0, 1)
        _check_range(self, "weight_decay", 0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseConfig:
    """The dense network, from scratch.

    Parameters
    ----------
    epochs
        Passes over the training images.
    learning_rate
        At the top of its cosine.
    dropout
        Drop probability after each hidden layer that is fully connected.
    label_smoothing
        Share of a label that is spread over all classes.
    """

    epochs: int
    learning_rate: float = 2e-3
    dropout: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _check_stage(self)
        _check_range(self, "dropout", 0, 0.9)
        _check_range(self, "label_smoothing", 0, 0.9)


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneConfig:
    """Weight masks, tightened in rounds and then static.

    Parameters
    ----------
    densities
        Final share of non-zero weights per layer, first layer first; of a recipe with groups, per
        group.
    epochs
        Passes over the training images, rounds and recovery together.
    rounds
        Number of times the masks are tightened.
    ramp
        Share of the stage in which the rounds happen; the rest trains on the final masks.
    learning_rate
        At the top of its cosine.
    l1, l2
        Regularisation of the living weights: per step each moves by ``learning_rate * l1`` towards
        0 and shrinks by the factor ``1 - learning_rate * l2``.
    """

    densities: tuple[float, ...]
    epochs: int
    rounds: int = 300
    ramp: float = 0.6
    learning_rate: float = 2e-3
    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        _check_stage(self)
        if not self.densities or not all(0 < density <= 1 for density in self.densities):
            raise ValueError(
                f"PruneConfig.densities must be above 0 and at most 1, not {self.densities!r}"
            )
        _check_range(self, "rounds", 1, 100_000)
        _check_range(self, "ramp", 0, 1)
        _check_range(self, "l1", 0, 10)
        _check_range(self, "l2", 0, 10)


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterConfig:
    """Winner rates and fine-tuning with them.

    Parameters
    ----------
    epochs, learning_rate
        Of the fine-tuning.
    rates
        Candidates of the sensitivity scan.
    tolerance_percent
        Largest drop of the held-out accuracy in the scan, in percentage points, per layer or group.
    dropout_factor
        Dropout after a filter is ``factor * sqrt(winner rate)`` (IPnet, section 3.4: 0.5). A
        network that is too small to over-fit is better off with 0.
    mode
        Where the threshold comes from at run time.
    sample_stride
        Of the mode SAMPLED.
    """

    epochs: int
    learning_rate: float = 5e-4
    rates: tuple[float, ...] = (0.5, 0.4, 0.32, 0.28, 0.24, 0.2, 0.16, 0.14, 0.12, 0.1, 0.08)
    tolerance_percent: float = 2.0
    dropout_factor: float = 0.0
    mode: ThresholdMode = ThresholdMode.EXACT
    sample_stride: int = 2

    def __post_init__(self) -> None:
        _check_stage(self)
        if not self.rates or not all(0 < rate <= 1 for rate in self.rates):
            raise ValueError(
                f"FilterConfig.rates must be above 0 and at most 1, not {self.rates!r}"
            )
        _check_range(self, "tolerance_percent", 0, 100)
        _check_range(self, "dropout_factor", 0, 0.9)
        _check_range(self, "sample_stride", 2, SAMPLE_STRIDE_MAX)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantiseConfig:
    """Fine-tuning on the integer arithmetic.

    Parameters
    ----------
    epochs, learning_rate
        Of the fine-tuning.
    calibration_images
        Training images from which the activation scales are taken.
    """

    epochs: int
    learning_rate: float = 2e-4
    calibration_images: int = 2000

    def __post_init__(self) -> None:
        _check_stage(self)
        _check_range(self, "calibration_images", 1, 1_000_000)


class TeacherView(StrEnum):
    """What the teacher answers to."""

    CLEAN = "clean"
    """The training image before augmentation: one answer for the whole training."""
    AUGMENTED = "augmented"
    """What the taught network sees: a forward pass of the teacher in every step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig:
    """The dense network as the teacher of the sparse one.

    Parameters
    ----------
    weight
        Share of the teacher's term in the loss; 0 trains on labels only.
    temperature
        Divides both networks' logits in that term.
    view
        What the teacher answers to.
    """

    weight: float = 0.5
    temperature: float = 2.0
    view: TeacherView = TeacherView.AUGMENTED

    def __post_init__(self) -> None:
        _check_range(self, "weight", 0, 1)
        _check_range(self, "temperature", 0.1, 100)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeConfig:
    """Everything that decides a trained network, besides the seed.

    Parameters
    ----------
    name
        Name of the preset.
    model, dataset
        What is trained on what.
    batch_size
        Images per step.
    held_out
        Training images that are set aside for all choices; the test images decide nothing.
    groups
        Parts of the model whose layers share a density and a winner rate: names of modules that
        hold the layers, or of layers. Empty, each layer has its own.
    crop
        Side of the square that is cut from each image, anywhere in training and from the centre
        otherwise; None takes whole images.
    bfloat16
        Whether the float stages multiply in bfloat16, where a processor can. Measuring and the
        integer stage are exact all the same.
    optimiser, augment, dense, prune, top_n, quantise, distill
        The stages and what they share.
    """

    name: str
    model: str
    dataset: str
    batch_size: int = 128
    held_out: int = 5000
    groups: tuple[str, ...] = ()
    crop: int | None = None
    bfloat16: bool = False
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    dense: DenseConfig
    prune: PruneConfig
    top_n: FilterConfig
    quantise: QuantiseConfig
    distill: DistillConfig = field(default_factory=DistillConfig)

    def __post_init__(self) -> None:
        _check_range(self, "batch_size", 1, 1_000_000)
        _check_range(self, "held_out", 1, 10_000_000)
        if self.crop is not None:
            _check_range(self, "crop", 1, 10_000)
            if self.distill.view is TeacherView.CLEAN:
                raise ValueError(
                    "DistillConfig.view must be AUGMENTED where images are cropped, "
                    f"not {self.distill.view!r}"
                )

    def grouped(self, layers: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the layers of each group, by the group's name.

        Parameters
        ----------
        layers
            Names, in execution order.

        Raises
        ------
        ValueError
            If a layer is in no group.
        """
        if not self.groups:
            return {name: (name,) for name in layers}
        found: dict[str, tuple[str, ...]] = {group: () for group in self.groups}
        for name in layers:
            holders = [group for group in self.groups if f"{name}.".startswith(f"{group}.")]
            if not holders:
                raise ValueError(f"RecipeConfig.groups must hold layer {name!r}, none does")
            found[holders[0]] += (name,)
        return {group: names for group, names in found.items() if names}

    def image_shape(self, dataset_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the images that the network takes.

        Parameters
        ----------
        dataset_shape
            Channels, height and width of the data set's images.

        Raises
        ------
        ValueError
            If the images are smaller than the crop.
        """
        if self.crop is None:
            return dataset_shape
        if min(dataset_shape[1:]) < self.crop:
            raise ValueError(
                f"RecipeConfig.crop must be at most the images' {dataset_shape[1:]}, "
                f"not {self.crop!r}"
            )
        return (dataset_shape[0], self.crop, self.crop)
