"""The ``jpnet`` command."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jpnet.options import Build, Config, DataRoot, Images, Model, Seed
from jpnet.tool_error import ToolError
from jpnet.workspace import Workspace, load_config
from jpnet_spec.artefact import atomic_path

__all__ = ["app", "main", "run"]

_BUILD = Path("build")

app = typer.Typer(
    help="Train sparse networks and generate the accelerator that runs them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _workspace(build: Path, model: str, config: str) -> Workspace:
    return Workspace(build=build, model=model, config=config)


@app.command()
def train(
    *,
    model: Annotated[str, typer.Option("--model", help="Architecture (jpnet models).")] = "mlp3",
    data: Annotated[str, typer.Option("--data", help="Data set (jpnet data).")] = "mnist",
    seed: Seed = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a training that was stopped.")
    ] = False,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Trained float network (safetensors) whose answers teach this one."),
    ] = None,
    teacher_model: Annotated[
        str, typer.Option(help="Architecture of the teacher (jpnet models).")
    ] = "resnet32-relu",
    warm_start: Annotated[
        Path | None,
        typer.Option("--warm-start", help="A trained dense network, .safetensors, to start from."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="Pruning method (jpnet methods), or FILE.py:CLASS."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="NAME=VALUE of the method (jpnet methods NAME); repeat."),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            "--activation", help="exact, sampled, static or none; LAYER=MODE for one; commas."
        ),
    ] = None,
    search: Annotated[
        str | None, typer.Option("--search", help="Winner rates by layer (scan) or all (joint).")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", help="Points of accuracy that rates may cost.")
    ] = None,
    build: Build = _BUILD,
    data_root: DataRoot = None,
) -> None:
    """Train a network until weights and activations are sparse, and quantise it."""
    from jpnet.training import train_model

    path = train_model(
        model,
        data=data,
        seed=seed,
        resume=resume,
        teacher=teacher,
        teacher_model=teacher_model,
        warm_start=warm_start,
        build=build,
        data_root=data_root,
        method=method,
        options=option or (),
        activation=activation,
        search=search,
        tolerance_percent=tolerance,
    )
    typer.echo(f"wrote {path}")


@app.command("compile")
def compile_command(
    model: Model = "mlp3",
    config: Config = "edge16",
    calibrate: Annotated[
        bool,
        typer.Option(help="Deal channels to lanes by how often training images activate them."),
    ] = True,
    build: Build = _BUILD,
    data_root: DataRoot = None,
) -> None:
    """Compile a trained network for an accelerator."""
    from jpnet.compilation import compile_model

    workspace = _workspace(build, model, config)
    path = compile_model(workspace, data_root=data_root, calibrate=calibrate)
    typer.echo(f"wrote {path}")


@app.command()
def estimate(
    model: Model = "mlp3",
    config: Config = "edge16",
    images: Images = "200",
    build: Build = _BUILD,
    data_root: DataRoot = None,
) -> None:
    """Predict cycles and stall causes on test images, without Verilog."""
    from jpnet.estimation import estimate_model, print_estimate
    from jpnet.images import image_count, load_test_images
    from jpnet.zoo import load_model

    workspace = _workspace(build, model, config)
    count = image_count(images)
    data = load_test_images(load_model(workspace), data_root=data_root, count=count)
    content, path = estimate_model(workspace, data)
    print_estimate(content, Console())
    typer.echo(f"wrote {path}")


@app.command()
def rtl(model: Model = "mlp3", config: Config = "edge16", build: Build = _BUILD) -> None:
    """Generate an accelerator's Verilog, manifest and register map."""
    from jpnet.emission import emit_verilog

    path = emit_verilog(load_config(config), _workspace(build, model, config).rtl_folder)
    typer.echo(f"wrote {path}")


@app.command()
def simulate(
    model: Model = "mlp3",
    config: Config = "edge16",
    images: Images = "all",
    build: Build = _BUILD,
    data_root: DataRoot = None,
) -> None:
    """Run test images through the Verilog and compare every layer with the integer network."""
    from jpnet.images import image_count, load_test_images
    from jpnet.simulation import simulate as simulate_images
    from jpnet.zoo import load_model

    workspace = _workspace(build, model, config)
    count = image_count(images)
    data = load_test_images(load_model(workspace), data_root=data_root, count=count)
    typer.echo(f"wrote {simulate_images(workspace, data)}")


@app.command()
def cosim(
    *,
    model: Model = "mlp3",
    config: Config = "edge16",
    images: Images = "2",
    seed: Seed = 1,
    waves: Annotated[bool, typer.Option("--waves", help="Keep waveforms.")] = False,
    build: Build = _BUILD,
    data_root: DataRoot = None,
) -> None:
    """Run the Verilog under cocotb, with AXI models and random stalls."""
    from jpnet.cosimulation import cosimulate
    from jpnet.images import image_count, load_test_images
    from jpnet.zoo import load_model

    workspace = _workspace(build, model, config)
    count = image_count(images)
    data = load_test_images(load_model(workspace), data_root=data_root, count=count)
    passed = cosimulate(workspace, data, seed=seed, waves=waves)
    typer.echo(f"{passed} benches passed")


@app.command()
def report(model: Model = "mlp3", config: Config = "edge16", build: Build = _BUILD) -> None:
    """Print the tables, write report.json and the figures."""
    from jpnet.report import write_report
    from jpnet.report_figures import write_figures
    from jpnet.report_tables import print_report

    workspace = _workspace(build, model, config)
    content = write_report(workspace)
    print_report(content, Console())
    for path in (workspace.report_file, *write_figures(content, workspace.folder)):
        typer.echo(f"wrote {path}")


@app.command()
def waves(
    model: Model = "mlp3",
    config: Config = "edge16",
    image: Annotated[int, typer.Option("--image", min=0, help="Which test image.")] = 0,
    build: Build = _BUILD,
    data_root: DataRoot = None,
) -> None:
    """Record the waveforms of one image, with a view file for GTKWave."""
    from jpnet.waves import record_waves

    workspace = _workspace(build, model, config)
    for path in record_waves(workspace, image=image, data_root=data_root):
        typer.echo(f"wrote {path}")


@app.command()
def synth(
    *,
    model: Model = "mlp3",
    config: Config = "edge16",
    target_mhz: Annotated[
        float, typer.Option("--target-mhz", min=1, help="Clock to aim at; less is no error.")
    ] = 85,
    results: Annotated[
        Path | None,
        typer.Option("--results", help="Folder that gets the figures too, as docs/results."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", help="Put them, or all of RESULTS, into this page's table."),
    ] = None,
    build: Build = _BUILD,
) -> None:
    """Synthesise, place and route an accelerator for an LFE5U-85F."""
    from jpnet.area import insert_areas, measure_area, print_area, read_areas

    workspace = _workspace(build, model, config)
    content = measure_area(workspace, target_mhz=target_mhz, results=results, console=Console())
    print_area(content, Console())
    typer.echo(f"wrote {workspace.synthesis_file}")
    if page is not None:
        areas = [content] if results is None else read_areas(results)
        text = insert_areas(page.read_text(), areas)
        with atomic_path(page) as temporary:
            temporary.write_text(text)
        typer.echo(f"wrote {page}")


@app.command()
def bench(
    results: Annotated[
        Path | None, typer.Option("--results", help="Folder of the files; BUILD/results.")
    ] = None,
    build: Build = _BUILD,
    data_root: DataRoot = None,
) -> None:
    """Measure the zoo on every preset, and the speed of the tools."""
    from jpnet.bench import run_bench

    folder = build / "results" if results is None else results
    run_bench(build, results=folder, data_root=data_root, console=Console())
    typer.echo(f"wrote {folder}")


@app.command()
def results(
    folder: Annotated[Path, typer.Argument(help="Folder that jpnet bench wrote.")],
    page: Annotated[
        Path | None, typer.Option("--page", help="Put them into this page, between its markers.")
    ] = None,
) -> None:
    """Print measured results as Markdown, or put them into a page."""
    from jpnet.results_table import insert_results, results_table

    table = results_table(folder)
    if page is None:
        typer.echo(table, nl=False)
        return
    text = insert_results(page.read_text(), table)
    with atomic_path(page) as temporary:
        temporary.write_text(text)
    typer.echo(f"wrote {page}")


@app.command()
def count(
    model: Model = "mlp3",
    images: Images = "all",
    build: Build = _BUILD,
    data_root: DataRoot = None,
) -> None:
    """Count densities, MACs and bytes of a trained network."""
    from jpnet.counting import print_counts
    from jpnet.images import image_count

    workspace = _workspace(build, model, "any")
    print_counts(workspace, count=image_count(images), data_root=data_root, console=Console())


@app.command()
def table(
    *,
    model: Annotated[str, typer.Option("--model", help="lenet4 or mlp3.")] = "lenet4",
    row: Annotated[
        list[str] | None, typer.Option("--row", help="Only this row; repeat for more.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each row.")] = 3,
    budget: Annotated[
        float, typer.Option("--budget", help="Share of the recipe's epochs, the same for all rows.")
    ] = 1.0,
    results: Annotated[
        Path | None, typer.Option("--results", help="Folder of the files; BUILD/results/methods.")
    ] = None,
    build: Build = _BUILD,
    data_root: DataRoot = None,
) -> None:
    """Train every pruning method on one network with one budget; rows that are there are kept."""
    from jpnet.method_rows import train_rows

    folder = build / "results" / "methods" if results is None else results
    train_rows(
        model,
        row or (),
        seeds=range(seeds),
        budget=budget,
        results=folder,
        build=build,
        data_root=data_root,
        console=Console(stderr=True),
    )
    typer.echo(f"wrote {folder}")


@app.command()
def tune(
    *,
    model: Annotated[str, typer.Option("--model", help="Architecture (jpnet models).")] = "lenet4",
    data: Annotated[str, typer.Option("--data", help="Data set (jpnet data).")] = "mnist",
    config: Config = "edge16",
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Points of accuracy that may be lost.")
    ] = 0.5,
    rounds: Annotated[int, typer.Option("--rounds", help="Networks that are tried.")] = 16,
    epochs: Annotated[float, typer.Option("--epochs", help="Epochs of training in a round.")] = 1,
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="Search uniform or one-rate, too; repeat for both."),
    ] = None,
    seed: Seed = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a search that was stopped.")
    ] = False,
    warm_start: Annotated[
        Path | None,
        typer.Option("--warm-start", help="A trained dense network, .safetensors, to start from."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="File that gets the results, too.")
    ] = None,
    build: Build = _BUILD,
    data_root: DataRoot = None,
) -> None:
    """Search weight densities and winner rates for the fewest cycles within a tolerance."""
    from jpnet.tuning import tune_model
    from jpnet.tuning_page import draw_searches, read_searches, tuning_table
    from jpnet_sw.tuning import TuneConfig

    path = tune_model(
        model,
        data=data,
        config=config,
        budget=TuneConfig(tolerance_percent=tolerance, rounds=rounds, epochs=epochs),
        baselines=baseline or (),
        seed=seed,
        build=build,
        results=results,
        data_root=data_root,
        warm_start=warm_start,
        resume=resume,
    )
    content = read_searches(path)
    typer.echo(tuning_table(content))
    for made in (path, draw_searches(content, path.with_suffix(".png"))):
        typer.echo(f"wrote {made}")


@app.command()
def comparison(
    folder: Annotated[Path, typer.Argument(help="Folder that jpnet table wrote.")],
    page: Annotated[
        Path | None, typer.Option("--page", help="Put the table into this page.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Draw a plot for each network into this folder.")
    ] = None,
) -> None:
    """Print the pruning methods' results as Markdown, or put them into a page, and plot them."""
    from jpnet.method_table import insert_table, method_table, plot_methods

    text = method_table(folder)
    if page is None:
        typer.echo(text, nl=False)
    else:
        whole = insert_table(page.read_text(), text)
        with atomic_path(page) as temporary:
            temporary.write_text(whole)
        typer.echo(f"wrote {page}")
    if images is not None:
        for path in plot_methods(folder, images):
            typer.echo(f"wrote {path}")


@app.command()
def demo(config: Config = "edge16", seed: Seed = 1, build: Build = _BUILD) -> None:
    """Do everything once on a small data set that needs no download, and say what was proved."""
    from jpnet.demo import run_demo

    run_demo(config, seed=seed, build=build, console=Console())


@app.command()
def configs() -> None:
    """List the presets of the accelerator."""
    from jpnet.listings import print_configs

    print_configs(Console())


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method, or FILE.py:CLASS.")] = None,
) -> None:
    """List the pruning methods, or the options of one."""
    from jpnet.method_listing import print_method, print_methods

    if name is None:
        print_methods(Console())
    else:
        print_method(name, Console())


@app.command()
def models(build: Build = _BUILD) -> None:
    """List architectures, trained models and the zoo."""
    from jpnet.listings import print_models

    print_models(build, Console())


@app.command()
def data(data_root: DataRoot = None) -> None:
    """List the data sets and say which are there."""
    from jpnet.listings import print_data

    print_data(data_root, Console())


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
