"""Commands that study a trained network's filters."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jpnet.images import image_count, load_test_images
from jpnet.options import DEFAULT_BUILD, Build, DataRoot
from jpnet.study_file import Study
from jpnet.workspace import Workspace

if TYPE_CHECKING:
    from jpnet_sw.studies import FineTuning, PrunedRun

__all__ = ["app"]

_SAMPLING_IMAGES = 2000
"""Where no number is given."""

app = typer.Typer(no_args_is_help=True, help="Study a trained network's filters: data and picture.")

Trained = Annotated[str, typer.Option("--model", help="A model that jpnet train made.")]
Rates = Annotated[list[float] | None, typer.Option("--rate", help="Winner rate; repeat for more.")]
Results = Annotated[
    Path | None, typer.Option("--results", help="Folder that gets <model>-<study>.json, too.")
]
Teacher = Annotated[
    Path | None, typer.Option("--teacher", help="The teacher that the model was trained with.")
]
TeacherModel = Annotated[
    str, typer.Option("--teacher-model", help="Architecture of the teacher (jpnet models).")
]


def _workspace(build: Path, model: str) -> Workspace:
    return Workspace(build=build, model=model, config="any")


def _run(workspace: Workspace) -> "PrunedRun":
    from jpnet_sw.studies import PrunedRun

    return PrunedRun.read(workspace.model_folder)


def _tuning(
    workspace: Workspace, data_root: Path | None, teacher: Path | None, teacher_model: str
) -> "FineTuning":
    from jpnet_sw.recipe import TeacherFile
    from jpnet_sw.studies import FineTuning

    return FineTuning(
        run=_run(workspace),
        folder=workspace.model_folder / "studies" / "networks",
        data_root=data_root,
        teacher=None if teacher is None else TeacherFile(path=teacher, model=teacher_model),
    )


def _finish(
    workspace: Workspace,
    study: Study,
    content: dict[str, Any],
    *,
    seed: int | None,
    data: str,
    results: Path | None,
) -> None:
    """Write a study's file and picture, and print its table."""
    from jpnet.provenance import provenance
    from jpnet.study_figures import draw_study
    from jpnet.study_file import read_study, write_study
    from jpnet.study_tables import study_table

    model = workspace.model_name
    whole = {
        "model": model,
        "dataset": data,
        "seed": seed,
        **content,
        "provenance": provenance(seed=seed, data=data),
    }
    path = workspace.model_folder / "studies" / f"{study.value}.json"
    copies = [] if results is None else [results / f"{model}-{study.value}.json"]
    for where in (path, *copies):
        write_study(where, study, whole)
    found = read_study(path)
    typer.echo(study_table(found))
    for made in (path, draw_study(found, path.with_suffix(".svg")), *copies):
        typer.echo(f"wrote {made}")


def _finish_run(
    workspace: Workspace,
    study: Study,
    run: "PrunedRun",
    content: dict[str, Any],
    results: Path | None,
) -> None:
    data = run.recipe.dataset
    _finish(workspace, study, content, seed=run.seed, data=data, results=results)


@app.command()
def sensitivity(
    *,
    model: Trained = "mlp3",
    rate: Rates = None,
    results: Results = None,
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Measure accuracy against the winner rate of one layer, or group of layers, at a time."""
    from jpnet_sw.studies import measure_sensitivity

    workspace = _workspace(build, model)
    run = _run(workspace)
    content = measure_sensitivity(run, rates=rate or (), data_root=data_root)
    _finish_run(workspace, Study.SENSITIVITY, run, content, results)


@app.command()
def thresholds(
    *,
    model: Trained = "mlp3",
    rate: Rates = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=0, help="Of fine-tuning; as many as the recipe has."),
    ] = None,
    teacher: Teacher = None,
    teacher_model: TeacherModel = "resnet32-relu",
    results: Results = None,
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Compare thresholds of each image with constant ones, before and after fine-tuning."""
    from jpnet_sw.studies import compare_thresholds

    workspace = _workspace(build, model)
    tuning = _tuning(workspace, data_root, teacher, teacher_model)
    content = compare_thresholds(tuning, rates=rate or (), epochs=epochs)
    _finish_run(workspace, Study.THRESHOLDS, tuning.run, content, results)


@app.command()
def sampling(
    *,
    model: Annotated[
        str,
        typer.Option("--model", help="A trained model, one of the zoo, or a .safetensors file."),
    ] = "mlp3",
    stride: Annotated[
        list[int] | None, typer.Option("--stride", help="Sample every k-th element; repeat.")
    ] = None,
    images: Annotated[
        str | None, typer.Option("--images", help="Test images: a number or all; up to 2,000.")
    ] = None,
    results: Results = None,
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Find thresholds from a part of the tensor: accuracy without training again."""
    from jpnet.zoo import load_model
    from jpnet_sw.studies import measure_sampling

    workspace = _workspace(build, model)
    network = load_model(workspace)
    count = None if images is None else image_count(images)
    test = load_test_images(network, data_root=data_root, count=count)
    taken = slice(_SAMPLING_IMAGES if images is None else None)
    content = measure_sampling(
        network, test.images[taken], test.labels[taken], strides=stride or ()
    )
    seed = network.metadata.get("seed")
    _finish(workspace, Study.SAMPLING, content, seed=seed, data=test.dataset, results=results)


@app.command()
def histograms(
    *,
    model: Trained = "mlp3",
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", help="With a filter; repeat. First, middle and last."),
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Training images.")] = 500,
    results: Results = None,
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Count which activations occur in the dense, the weight-pruned and the joint network."""
    from jpnet_sw.studies import measure_histograms

    workspace = _workspace(build, model)
    run = _run(workspace)
    content = measure_histograms(run, layers=layer or (), images=images, data_root=data_root)
    _finish_run(workspace, Study.HISTOGRAMS, run, content, results)


@app.command()
def densities(
    *,
    model: Trained = "mlp3",
    images: Annotated[int, typer.Option("--images", min=1, help="Training images.")] = 1000,
    results: Results = None,
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Compare activation densities of the dense, the weight-pruned and the joint network."""
    from jpnet_sw.studies import measure_densities

    workspace = _workspace(build, model)
    run = _run(workspace)
    content = measure_densities(run, images=images, data_root=data_root)
    _finish_run(workspace, Study.DENSITIES, run, content, results)


@app.command()
def tradeoff(
    *,
    model: Trained = "mlp3",
    tolerance: Annotated[
        list[float] | None,
        typer.Option("--tolerance", help="Points of accuracy that rates may cost; repeat."),
    ] = None,
    budget: Annotated[
        float, typer.Option("--budget", help="Share of the recipe's epochs with filters.")
    ] = 1.0,
    teacher: Teacher = None,
    teacher_model: TeacherModel = "resnet32-relu",
    results: Results = None,
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Train a network for each tolerance: accuracy against effective MACs."""
    from jpnet_sw.studies import measure_tradeoff

    workspace = _workspace(build, model)
    tuning = _tuning(workspace, data_root, teacher, teacher_model)
    content = measure_tradeoff(tuning, tolerances=tolerance or (), budget=budget)
    _finish_run(workspace, Study.TRADEOFF, tuning.run, content, results)
