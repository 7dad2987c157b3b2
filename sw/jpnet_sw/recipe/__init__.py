"""The JPnet recipe: dense training, weight masks, winner rates, quantisation."""

from jpnet_sw.recipe.choices import choose, parse_options
from jpnet_sw.recipe.config import (
    AugmentConfig,
    DenseConfig,
    DistillConfig,
    FilterConfig,
    OptimiserConfig,
    OptimiserKind,
    PruneConfig,
    QuantiseConfig,
    RateSearch,
    RecipeConfig,
    TeacherView,
)
from jpnet_sw.recipe.history import HISTORY_FILE
from jpnet_sw.recipe.presets import preset, preset_names
from jpnet_sw.recipe.teacher import TeacherFile
from jpnet_sw.recipe.train import MODEL_FILE, train

__all__ = [
    "HISTORY_FILE",
    "MODEL_FILE",
    "AugmentConfig",
    "DenseConfig",
    "DistillConfig",
    "FilterConfig",
    "OptimiserConfig",
    "OptimiserKind",
    "PruneConfig",
    "QuantiseConfig",
    "RateSearch",
    "RecipeConfig",
    "TeacherFile",
    "TeacherView",
    "choose",
    "parse_options",
    "preset",
    "preset_names",
    "train",
]
