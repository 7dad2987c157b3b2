"""Tables of the pruning methods and their options."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from jpnet_sw.recipe.choices import StageOptions, stage_options_of
from jpnet_sw.sparsity.methods import find_method, method_names, method_type
from jpnet_sw.sparsity.options import describe

__all__ = ["print_method", "print_methods"]


def print_methods(console: Console) -> None:
    """Print name, source and one line of every method."""
    table = Table(title="Pruning methods (jpnet methods NAME lists the options of one)")
    for column in ("name", "what it does", "source"):
        table.add_column(column)
    for name in method_names():
        kind = method_type(name)
        table.add_row(name, kind.SUMMARY, kind.SOURCE)
    console.print(table)


def _print_options(title: str, rows: Sequence[tuple[str, ...]], console: Console) -> None:
    if not rows:
        console.print(f"{title}: none")
        return
    table = Table(title=title)
    for column in ("option", "default", "values", "what it is"):
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_method(text: str, console: Console) -> None:
    """Print a method's options, its own and those of the pruning stage that matter to it.

    Parameters
    ----------
    text
        Its name, or ``FILE.py:CLASS``.
    console
        Where to.

    Raises
    ------
    ValueError
        If there is no such method.
    """
    name = find_method(text)
    kind = method_type(name)
    console.print(f"{name}: {kind.SUMMARY}\n{kind.SOURCE}")
    _print_options(f"Options of {name}", describe(kind.Options), console)
    known = stage_options_of(kind)
    stage = [(row[0], "recipe", *row[2:]) for row in describe(StageOptions) if row[0] in known]
    _print_options("Options of the stage", stage, console)
