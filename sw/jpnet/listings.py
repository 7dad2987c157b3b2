"""Tables of what there is: configurations, models, data sets."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.model_file import load_network
from jpnet_sw.zoo import zoo_names, zoo_path

__all__ = ["print_configs", "print_data", "print_models"]


def print_configs(console: Console) -> None:
    """Print every preset's parameters."""
    table = Table(title="Presets")
    table.add_column("parameter")
    for name in PRESETS:
        table.add_column(name, justify="right")
    parameters: list[str] = ["mac_units", *AcceleratorConfig().as_dict()]
    for parameter in parameters:
        values = (str(getattr(config, parameter)) for config in PRESETS.values())
        table.add_row(parameter, *values)
    hashes = (f"{config.config_hash:08x}" for config in PRESETS.values())
    table.add_row("configuration hash", *hashes)
    console.print(table)


def print_models(build: Path, console: Console) -> None:
    """Print architectures, then trained models with their accuracy."""
    from jpnet_sw.models import model_names

    console.print(f"architectures: {', '.join(model_names())}")
    table = Table(title="Trained networks")
    for column in ("name", "data", "accuracy", "file"):
        table.add_column(column)
    files = [zoo_path(name) for name in zoo_names()]
    files += sorted(build.glob("*/model.safetensors"))
    for path in files:
        facts = load_network(path).metadata
        accuracy = facts.get("accuracy_int8")
        shown = f"{100 * accuracy:.2f} %" if isinstance(accuracy, float) else "-"
        table.add_row(path.parent.name, str(facts.get("dataset", "-")), shown, str(path))
    console.print(table)


def print_data(data_root: Path | None, console: Console) -> None:
    """Print the data sets and whether each can be loaded from the folder."""
    from jpnet_sw.data import DataError, dataset_names, load_dataset

    table = Table(title=f"Data sets in {data_root or 'the download cache'}")
    table.add_column("name")
    table.add_column("state")
    for name in dataset_names():
        if data_root is None and name != "digits":
            table.add_row(name, "downloaded when first used")
            continue
        try:
            found = load_dataset(name, data_root)
        except DataError as error:
            table.add_row(name, str(error))
            continue
        counts = f"{len(found.train_images):,} training, {len(found.test_images):,} test images"
        table.add_row(name, counts)
    console.print(table)
