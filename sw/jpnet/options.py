"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DEFAULT_BUILD", "Build", "Config", "DataRoot", "Images", "Model", "Seed"]

DEFAULT_BUILD = Path("build")

Model = Annotated[
    str, typer.Option("--model", help="A trained model, one of the zoo, or a .safetensors file.")
]
Config = Annotated[
    str, typer.Option("--config", help="A preset (jpnet configs) or a .json file of parameters.")
]
Build = Annotated[Path, typer.Option("--build", help="Folder of everything that is made.")]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        envvar="JPNET_DATA",
        help="Folder that holds the data sets; without it they are downloaded.",
    ),
]
Images = Annotated[str, typer.Option("--images", help="Test images: a number or all.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
