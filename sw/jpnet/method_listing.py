"""Tables of the pruning methods and their options."""

from rich.console import Console
from rich.table import Table

from jpnet_sw.recipe.choices import StageOptions
from jpnet_sw.sparsity.methods import method_names, method_type
from jpnet_sw.sparsity.options import MethodOptions, describe

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


def _print_options(
    title: str, options: type[MethodOptions], console: Console, *, of_recipe: bool = False
) -> None:
    rows = describe(options)
    if not rows:
        console.print(f"{title}: none")
        return
    table = Table(title=title)
    for column in ("option", "default", "values", "what it is"):
        table.add_column(column)
    for name, default, values, explanation in rows:
        table.add_row(name, "recipe" if of_recipe else default, values, explanation)
    console.print(table)


def print_method(name: str, console: Console) -> None:
    """Print a method's options, its own and those of the pruning stage.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    kind = method_type(name)
    console.print(f"{name}: {kind.SUMMARY}\n{kind.SOURCE}")
    _print_options(f"Options of {name}", kind.Options, console)
    _print_options("Options of the stage", StageOptions, console, of_recipe=True)
