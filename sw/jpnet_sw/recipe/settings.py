"""A recipe from the plain values that checkpoints and model files hold."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from jpnet_sw.recipe.config import RecipeConfig

__all__ = ["recipe_from_settings"]


def recipe_from_settings(settings: Mapping[str, Any]) -> RecipeConfig:
    """Return the recipe whose `RecipeConfig.settings` are given.

    Raises
    ------
    ValueError
        If a value is missing, unknown or impossible.
    """
    try:
        recipe: RecipeConfig = TypeAdapter(RecipeConfig).validate_python(dict(settings))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"recipe settings {place}: {first['msg']}") from error
    if recipe.settings() != settings:
        raise ValueError("recipe settings must be those of this version of jpnet, not of another")
    return recipe
