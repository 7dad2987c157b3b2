"""Options of pruning methods: declared once, with range and explanation, checked everywhere."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from math import isfinite
from typing import Any

__all__ = ["MethodOptions", "describe", "from_text", "option"]


def option(
    default: Any, explanation: str, *, low: float | None = None, high: float | None = None
) -> Any:
    """Declare an option of a `MethodOptions`.

    Parameters
    ----------
    default
        Its type is the option's: a number, a boolean, a member of a StrEnum, or a tuple of numbers
        for one value per layer (one value serves all).
    explanation
        One line for the list of options.
    low, high
        Range of a number.
    """
    return field(default=default, metadata={"explanation": explanation, "low": low, "high": high})


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodOptions:
    """Options of a pruning method; subclasses declare each with `option`.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and not isinstance(number, bool):
                    self._check(entry, number)

    def _check(self, entry: Field, number: float) -> None:
        low, high = entry.metadata["low"], entry.metadata["high"]
        fits = isfinite(number)
        fits = fits and (low is None or number >= low) and (high is None or number <= high)
        if not fits:
            raise ValueError(
                f"{type(self).__name__}.{entry.name} must be {_range(entry)}, not {number!r}"
            )


def _range(entry: Field) -> str:
    low, high = entry.metadata["low"], entry.metadata["high"]
    if isinstance(entry.default, bool):
        return "true or false"
    if isinstance(entry.default, StrEnum):
        return f"one of {', '.join(member.value for member in type(entry.default))}"
    kind = "an integer" if isinstance(entry.default, int) else "a number"
    if isinstance(entry.default, tuple):
        kind = "numbers separated by commas"
    if low is not None and high is not None:
        return f"{kind} from {low:g} to {high:g}"
    return kind if low is None else f"{kind} of at least {low:g}"


def describe(options: type[MethodOptions]) -> list[tuple[str, str, str, str]]:
    """Return name, default, range and explanation of each option."""
    return [
        (entry.name, _text(entry.default), _range(entry), entry.metadata["explanation"])
        for entry in fields(options)
    ]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(f"{number:g}" for number in value) or "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def from_text(method: str, options: type[MethodOptions], given: Mapping[str, Any]) -> MethodOptions:
    """Return options from texts or values by name.

    Parameters
    ----------
    method
        The method's name, for messages.
    given
        Option name to its text, or to a value that is taken by its text.

    Raises
    ------
    ValueError
        If a name is unknown, or a text is none of the option's values.
    """
    known = {entry.name: entry for entry in fields(options)}
    values = {}
    for name, value in given.items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise ValueError(f"option of method {method} must be one of {names}, not {name!r}")
        values[name] = _parse(method, known[name], value)
    return options(**values)


def _parse(method: str, entry: Field, value: Any) -> Any:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    default: Any = entry.default
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, StrEnum):
            return type(default)(text)
        if isinstance(default, tuple):
            return tuple(float(part) for part in text.split(",") if part)
        return type(default)(text)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"option {entry.name} of method {method} must be {_range(entry)}, not {text!r}"
        ) from error
