"""The recipes by name."""

from dataclasses import replace

from jpnet_sw.recipe.config import (
    AugmentConfig,
    DenseConfig,
    DistillConfig,
    FilterConfig,
    OptimiserConfig,
    OptimiserKind,
    PruneConfig,
    QuantiseConfig,
    RecipeConfig,
    TeacherView,
)

__all__ = ["preset", "preset_names"]

_LIGHT = AugmentConfig(rotation_radians=0.1, scale=0.06, shear=0.075, shift=0.057)

_RESIDUAL = RecipeConfig(
    name="resnet32-cifar-10",
    model="resnet32",
    dataset="cifar-10",
    held_out=2500,
    groups=("conv1", "layer1", "layer2", "layer3", "linear"),
    bfloat16=True,
    optimiser=OptimiserConfig(kind=OptimiserKind.SGD, weight_decay=5e-4),
    augment=AugmentConfig(flip=True, pad=4),
    dense=DenseConfig(epochs=160, learning_rate=0.1),
    prune=PruneConfig(
        densities=(0.6, 0.4, 0.36, 0.3, 0.6), epochs=60, rounds=1000, learning_rate=0.05
    ),
    top_n=FilterConfig(
        epochs=60,
        rates=(0.5, 0.45, 0.4, 0.36, 0.32, 0.28, 0.24),
        tolerance_percent=2.0,
        learning_rate=0.02,
    ),
    quantise=QuantiseConfig(epochs=10, learning_rate=0.002, calibration_images=500),
)

_PRESETS = {
    recipe.name: recipe
    for recipe in (
        RecipeConfig(
            name="mlp3-mnist",
            model="mlp3",
            dataset="mnist",
            augment=_LIGHT,
            dense=DenseConfig(epochs=25, dropout=0.15),
            prune=PruneConfig(densities=(0.025, 0.06, 0.3), epochs=60),
            top_n=FilterConfig(epochs=15, tolerance_percent=0.3),
            quantise=QuantiseConfig(epochs=10),
            distill=DistillConfig(view=TeacherView.CLEAN),
        ),
        RecipeConfig(
            name="mlp3-fashion-mnist",
            model="mlp3",
            dataset="fashion-mnist",
            augment=AugmentConfig(shift=0.05),
            dense=DenseConfig(epochs=25, dropout=0.15),
            prune=PruneConfig(densities=(0.05, 0.1, 0.4), epochs=60),
            top_n=FilterConfig(epochs=15, tolerance_percent=0.5),
            quantise=QuantiseConfig(epochs=10),
        ),
        RecipeConfig(
            name="mlp3-digits",
            model="mlp3",
            dataset="digits",
            batch_size=64,
            held_out=238,
            augment=AugmentConfig(rotation_radians=0.1, scale=0.06, shift=0.1),
            dense=DenseConfig(epochs=30, dropout=0.1),
            prune=PruneConfig(densities=(0.1, 0.06, 0.3), epochs=50, rounds=100),
            top_n=FilterConfig(epochs=20, tolerance_percent=0.5),
            quantise=QuantiseConfig(epochs=10, calibration_images=1200),
        ),
        RecipeConfig(
            name="lenet4-mnist",
            model="lenet4",
            dataset="mnist",
            bfloat16=True,
            augment=_LIGHT,
            dense=DenseConfig(epochs=8, dropout=0.3),
            prune=PruneConfig(densities=(0.12, 0.02, 0.005, 0.1), epochs=30, rounds=1000),
            top_n=FilterConfig(epochs=6, tolerance_percent=0.1),
            quantise=QuantiseConfig(epochs=4, calibration_images=500),
        ),
        RecipeConfig(
            name="convnet5-cifar-10",
            model="convnet5",
            dataset="cifar-10",
            held_out=2500,
            crop=24,
            bfloat16=True,
            optimiser=OptimiserConfig(kind=OptimiserKind.SGD, weight_decay=5e-4),
            augment=AugmentConfig(flip=True),
            dense=DenseConfig(epochs=90, learning_rate=0.02, dropout=0.1),
            prune=PruneConfig(
                densities=(0.5, 0.42, 0.2, 0.4, 0.8), epochs=40, rounds=2000, learning_rate=0.02
            ),
            top_n=FilterConfig(
                epochs=12,
                rates=(0.7, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1),
                tolerance_percent=0.25,
                learning_rate=0.005,
            ),
            quantise=QuantiseConfig(epochs=5, learning_rate=0.001, calibration_images=500),
            distill=DistillConfig(weight=0.8, temperature=4.0),
        ),
        _RESIDUAL,
        replace(_RESIDUAL, name="resnet32-relu-cifar-10", model="resnet32-relu"),
        replace(_RESIDUAL, name="resnet32-wide-cifar-10", model="resnet32-wide"),
    )
}


def preset_names() -> tuple[str, ...]:
    """Return the names that `preset` knows."""
    return tuple(_PRESETS)


def preset(model: str, dataset: str) -> RecipeConfig:
    """Return the recipe of a model on a data set.

    Raises
    ------
    ValueError
        If there is none.
    """
    name = f"{model}-{dataset}"
    if name not in _PRESETS:
        raise ValueError(f"recipe must be one of {', '.join(_PRESETS)}, not {name!r}")
    return _PRESETS[name]
