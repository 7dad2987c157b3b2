"""The ``jpnet`` command."""

import sys
from collections.abc import Sequence

import typer

from jpnet import accelerator_commands, network_commands, study_commands
from jpnet.tool_error import ToolError

__all__ = ["app", "main", "run"]

app = typer.Typer(
    help="Train sparse networks and generate the accelerator that runs them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(network_commands.app)
app.add_typer(study_commands.app, name="study")
app.add_typer(accelerator_commands.app)


def _complain(error: Exception) -> None:
    """Print an error as one line; what a tool printed goes before it."""
    from jpnet_cosim.verilator_build import BuildError

    text = str(error).strip() or type(error).__name__
    if isinstance(error, BuildError | ToolError):
        text, _, details = text.partition("\n")
        sys.stderr.write(f"{details}\n" if details else "")
    sys.stderr.write(f"jpnet: error: {' '.join(text.split())}\n")


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code.

    0 when it did its work, 1 when the hardware computed something else than the integer network,
    2 when the input cannot be used, 130 when it was interrupted.
    """
    from jpnet.simulation import MismatchError
    from jpnet_cosim.runner import SimulationError
    from jpnet_cosim.verilator_build import BuildError

    command = typer.main.get_command(app)
    try:
        code = command.main(args=list(arguments), prog_name="jpnet", standalone_mode=False)
    except MismatchError as error:
        _complain(error)
        return 1
    except typer.TyperException as error:
        _complain(ValueError(error.format_message()))
        return 2
    except (ValueError, OSError, BuildError, SimulationError, ToolError) as error:
        _complain(error)
        return 2
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("jpnet: interrupted\n")
        return 130
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of the ``jpnet`` command."""
    sys.exit(run(sys.argv[1:]))
