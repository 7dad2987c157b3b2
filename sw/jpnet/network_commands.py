"""Commands on networks: training, pruning methods, data sets."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jpnet.options import DEFAULT_BUILD, Build, Config, DataRoot, Images, Model, Seed
from jpnet.page import write_page
from jpnet.workspace import Workspace

__all__ = ["app"]

app = typer.Typer()


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
    budget: Annotated[
        float, typer.Option("--budget", help="Share of the recipe's epochs, of every stage.")
    ] = 1.0,
    build: Build = DEFAULT_BUILD,
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
        budget=budget,
    )
    typer.echo(f"wrote {path}")


@app.command()
def count(
    model: Model = "mlp3",
    images: Images = "all",
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Count densities, MACs and bytes of a trained network."""
    from jpnet.counting import print_counts
    from jpnet.images import image_count

    workspace = Workspace(build=build, model=model, config="any")
    print_counts(workspace, count=image_count(images), data_root=data_root, console=Console())


@app.command()
def table(
    *,
    model: Annotated[
        str, typer.Option("--model", help="lenet4, mlp3 or resnet32-relu.")
    ] = "lenet4",
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
    warm_start: Annotated[
        Path | None,
        typer.Option(
            "--warm-start", help="Trained dense network that rows of resnet32-relu begin with."
        ),
    ] = None,
    build: Build = DEFAULT_BUILD,
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
        warm_start=warm_start,
    )
    typer.echo(f"wrote {folder}")


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
        write_page(page, whole)
        typer.echo(f"wrote {page}")
    if images is not None:
        for path in plot_methods(folder, images):
            typer.echo(f"wrote {path}")


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
    build: Build = DEFAULT_BUILD,
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
def models(build: Build = DEFAULT_BUILD) -> None:
    """List architectures, trained models and the zoo."""
    from jpnet.listings import print_models

    print_models(build, Console())


@app.command()
def data(data_root: DataRoot = None) -> None:
    """List the data sets and say which are there."""
    from jpnet.listings import print_data

    print_data(data_root, Console())
