"""A recipe with another pruning method, other options or other activation masks."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from jpnet_spec.topn import ThresholdMode
from jpnet_sw.recipe.config import RateSearch, RecipeConfig
from jpnet_sw.sparsity.method import PruningMethod
from jpnet_sw.sparsity.methods import method_type
from jpnet_sw.sparsity.options import MethodOptions, from_text, option

__all__ = [
    "STAGES",
    "StageOptions",
    "adapted",
    "choose",
    "parse_activation",
    "parse_options",
    "shortened",
    "stage_options_of",
]

STAGES = ("dense", "prune", "top_n", "quantise")
"""Parts of a recipe that have epochs, in order."""
_ADAPTING_EPOCHS = 0.125
_ADAPTING_RATE = 0.3
"""Of the dense stage's, where a network that was trained as a similar one is adapted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageOptions(MethodOptions):
    """Options of the pruning stage, which all methods have; their defaults are the recipe's."""

    densities: tuple[float, ...] = option((), "shares of living weights, per layer", low=0, high=1)
    epochs: int = option(0, "passes over the training images", low=0)
    rounds: int = option(300, "how often masks are tightened", low=1)
    ramp: float = option(0.6, "share of the stage in which the method acts", low=0, high=1)
    learning_rate: float = option(2e-3, "at the top of its cosine", low=0)
    l1: float = option(0.0, "L1 regularisation of the weights", low=0, high=10)
    l2: float = option(0.0, "L2 regularisation of the weights", low=0, high=10)


def stage_options_of(kind: type[PruningMethod]) -> tuple[str, ...]:
    """Return the names of the stage's options that matter to a method and are not its own too."""
    taken = kind.UNUSED | set(kind.Options.__dataclass_fields__)
    return tuple(name for name in StageOptions.__dataclass_fields__ if name not in taken)


def parse_options(texts: Iterable[str]) -> dict[str, str]:
    """Return option names and values from texts ``name=value``.

    Raises
    ------
    ValueError
        If a text is of another form or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in found:
            raise ValueError(f"option must be NAME=VALUE, each name once, not {text!r}")
        found[name] = value
    return found


def parse_activation(text: str) -> tuple[ThresholdMode | None, dict[str, ThresholdMode]]:
    """Return the mode of all layers, if it is given, and those of single layers.

    Parameters
    ----------
    text
        ``exact``, ``sampled``, ``static`` or ``none``, and ``layer=mode`` for single layers, with
        commas between.

    Raises
    ------
    ValueError
        If a mode is unknown.
    """
    everywhere: ThresholdMode | None = None
    layers = {}
    for part in text.split(","):
        layer, equals, name = part.rpartition("=")
        if name.upper() not in ThresholdMode.__members__ or (equals and not layer):
            names = ", ".join(mode.name.lower() for mode in ThresholdMode)
            raise ValueError(f"activation must be one of {names} or LAYER=MODE, not {part!r}")
        if equals:
            layers[layer] = ThresholdMode[name.upper()]
        else:
            everywhere = ThresholdMode[name.upper()]
    return everywhere, layers


def shortened(recipe: RecipeConfig, budget: float, stages: Iterable[str] = STAGES) -> RecipeConfig:
    """Return a recipe with a share of its epochs; at least one where there are any.

    Parameters
    ----------
    recipe
        Gives everything else.
    budget
        The share, above 0 and at most 1.
    stages
        Those of `STAGES` that are shortened.

    Raises
    ------
    ValueError
        If the share is out of range.
    """
    if not 0 < budget <= 1:
        raise ValueError(f"budget must be above 0 and at most 1, not {budget!r}")
    configs = {name: getattr(recipe, name) for name in stages}
    return replace(
        recipe,
        **{
            name: replace(config, epochs=max(min(1, config.epochs), round(budget * config.epochs)))
            for name, config in configs.items()
        },
    )


def adapted(recipe: RecipeConfig) -> RecipeConfig:
    """Return a recipe whose dense stage only adapts a network that was trained as a similar one.

    The stage has an eighth of its epochs and three tenths of its learning rate.
    """
    dense = recipe.dense
    shorter = shortened(recipe, _ADAPTING_EPOCHS, ("dense",)).dense
    slower = replace(shorter, learning_rate=_ADAPTING_RATE * dense.learning_rate)
    return replace(recipe, dense=slower)


def choose(
    recipe: RecipeConfig,
    *,
    method: str | None = None,
    options: dict[str, Any] | None = None,
    activation: str | None = None,
    search: str | None = None,
    tolerance_percent: float | None = None,
    budget: float = 1.0,
) -> RecipeConfig:
    """Return a recipe with some choices changed.

    Parameters
    ----------
    recipe
        Gives everything else.
    method
        Name of a pruning method; the recipe's name gets it as its ending.
    options
        Of the stage, see `StageOptions`, and of the method.
    activation
        See `parse_activation`.
    search
        ``scan`` or ``joint``.
    tolerance_percent
        Of that search.
    budget
        Share of the epochs of all stages, see `shortened`.

    Raises
    ------
    ValueError
        If a name is unknown or a value impossible.
    """
    name = recipe.prune.method if method is None else method
    kind = method_type(name)
    given = dict(options or {})
    own = {key: value for key, value in given.items() if key in kind.Options.__dataclass_fields__}
    rest = {key: value for key, value in given.items() if key not in own}
    stage_options = stage_options_of(kind)
    unknown = [key for key in rest if key not in stage_options]
    if unknown:
        known = ", ".join((*stage_options, *kind.Options.__dataclass_fields__))
        raise ValueError(f"option of method {name} must be one of {known}, not {unknown[0]!r}")
    stage = from_text(name, StageOptions, rest)
    changes = {key: getattr(stage, key) for key in rest}
    if len(changes.get("densities", ())) == 1:
        changes["densities"] *= len(recipe.prune.densities)
    kept = recipe.prune.options if method is None else {}
    prune = replace(recipe.prune, method=name, options={**kept, **own}, **changes)
    top_n = recipe.top_n
    if activation is not None:
        everywhere, layers = parse_activation(activation)
        mode = top_n.mode if everywhere is None else everywhere
        top_n = replace(top_n, mode=mode, layer_modes=layers)
    if search is not None:
        names = [kind.value for kind in RateSearch]
        if search not in names:
            raise ValueError(f"search must be one of {', '.join(names)}, not {search!r}")
        top_n = replace(top_n, search=RateSearch(search))
    if tolerance_percent is not None:
        top_n = replace(top_n, tolerance_percent=tolerance_percent)
    title = recipe.name if method is None else f"{recipe.name}-{method}"
    return shortened(replace(recipe, name=title, prune=prune, top_n=top_n), budget)
