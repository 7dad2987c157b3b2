"""Commands on the accelerator: programs, Verilog, simulation, measurements."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jpnet.images import LabelledImages, image_count, load_test_images
from jpnet.options import DEFAULT_BUILD, Build, Config, DataRoot, Images, Model, Seed
from jpnet.page import write_page
from jpnet.workspace import Workspace, load_config

__all__ = ["app"]

app = typer.Typer()


def _test_images(workspace: Workspace, images: str, data_root: Path | None) -> LabelledImages:
    from jpnet.zoo import load_model

    count = image_count(images)
    return load_test_images(load_model(workspace), data_root=data_root, count=count)


@app.command("compile")
def compile_command(
    *,
    model: Model = "mlp3",
    config: Config = "edge16",
    calibrate: Annotated[
        bool,
        typer.Option(help="Deal channels to lanes by how often training images activate them."),
    ] = True,
    encoding: Annotated[
        str,
        typer.Option(
            help="Weight lists: explicit, run-length, blocks or smallest; all but the first need "
            "a configuration with list_decoder 1."
        ),
    ] = "explicit",
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Compile a trained network for an accelerator."""
    from jpnet.compilation import compile_model

    workspace = Workspace(build=build, model=model, config=config)
    path = compile_model(workspace, data_root=data_root, calibrate=calibrate, encoding=encoding)
    typer.echo(f"wrote {path}")


@app.command()
def rtl(model: Model = "mlp3", config: Config = "edge16", build: Build = DEFAULT_BUILD) -> None:
    """Generate an accelerator's Verilog, manifest and register map."""
    from jpnet.emission import emit_verilog

    path = emit_verilog(
        load_config(config), Workspace(build=build, model=model, config=config).rtl_folder
    )
    typer.echo(f"wrote {path}")


@app.command()
def simulate(
    model: Model = "mlp3",
    config: Config = "edge16",
    images: Images = "all",
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Run test images through the Verilog and compare every layer with the integer network."""
    from jpnet.simulation import simulate as simulate_images

    workspace = Workspace(build=build, model=model, config=config)
    data = _test_images(workspace, images, data_root)
    typer.echo(f"wrote {simulate_images(workspace, data)}")


@app.command()
def cosim(
    *,
    model: Model = "mlp3",
    config: Config = "edge16",
    images: Images = "2",
    seed: Seed = 1,
    waves: Annotated[bool, typer.Option("--waves", help="Keep waveforms.")] = False,
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Run the Verilog under cocotb, with AXI models and random stalls."""
    from jpnet.cosimulation import cosimulate

    workspace = Workspace(build=build, model=model, config=config)
    data = _test_images(workspace, images, data_root)
    passed = cosimulate(workspace, data, seed=seed, waves=waves)
    typer.echo(f"{passed} benches passed")


@app.command()
def estimate(
    model: Model = "mlp3",
    config: Config = "edge16",
    images: Images = "200",
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Predict cycles and stall causes on test images, without Verilog."""
    from jpnet.estimation import estimate_model, print_estimate

    workspace = Workspace(build=build, model=model, config=config)
    data = _test_images(workspace, images, data_root)
    content, path = estimate_model(workspace, data)
    print_estimate(content, Console())
    typer.echo(f"wrote {path}")


@app.command()
def report(model: Model = "mlp3", config: Config = "edge16", build: Build = DEFAULT_BUILD) -> None:
    """Print the tables, write report.json and the figures."""
    from jpnet.report import write_report
    from jpnet.report_figures import write_figures
    from jpnet.report_tables import print_report

    workspace = Workspace(build=build, model=model, config=config)
    content = write_report(workspace)
    print_report(content, Console())
    for path in (workspace.report_file, *write_figures(content, workspace.folder)):
        typer.echo(f"wrote {path}")


@app.command()
def waves(
    model: Model = "mlp3",
    config: Config = "edge16",
    image: Annotated[int, typer.Option("--image", min=0, help="Which test image.")] = 0,
    build: Build = DEFAULT_BUILD,
    data_root: DataRoot = None,
) -> None:
    """Record the waveforms of one image, with a view file for GTKWave."""
    from jpnet.waves import record_waves

    workspace = Workspace(build=build, model=model, config=config)
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
    build: Build = DEFAULT_BUILD,
) -> None:
    """Synthesise, place and route an accelerator for an LFE5U-85F."""
    from jpnet.area import insert_areas, measure_area, print_area, read_areas

    workspace = Workspace(build=build, model=model, config=config)
    content = measure_area(workspace, target_mhz=target_mhz, results=results, console=Console())
    print_area(content, Console())
    typer.echo(f"wrote {workspace.synthesis_file}")
    if page is not None:
        areas = [content] if results is None else read_areas(results)
        text = insert_areas(page.read_text(), areas)
        write_page(page, text)
        typer.echo(f"wrote {page}")


@app.command()
def bench(
    results: Annotated[
        Path | None, typer.Option("--results", help="Folder of the files; BUILD/results.")
    ] = None,
    build: Build = DEFAULT_BUILD,
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
    write_page(page, text)
    typer.echo(f"wrote {page}")


@app.command()
def demo(config: Config = "edge16", seed: Seed = 1, build: Build = DEFAULT_BUILD) -> None:
    """Do everything once on a small data set that needs no download, and say what was proved."""
    from jpnet.demo import run_demo

    run_demo(config, seed=seed, build=build, console=Console())


@app.command()
def configs() -> None:
    """List the presets of the accelerator."""
    from jpnet.listings import print_configs

    print_configs(Console())
