"""Densities, MACs and bytes of a trained network, counted on its test images."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from jpnet.images import load_test_images
from jpnet.workspace import Workspace
from jpnet.zoo import load_model

__all__ = ["print_counts"]


def print_counts(
    workspace: Workspace, *, count: int | None, data_root: Path | None, console: Console
) -> None:
    """Print what every layer holds and computes, and the bytes of each weight encoding.

    Parameters
    ----------
    workspace
        Of the model.
    count
        Test images to count on, None for all.
    data_root
        Folder of the data sets.
    console
        Where to.

    Raises
    ------
    ValueError
        If the model, or its data, is missing or damaged.
    """
    from jpnet_sw.metrics import measure
    from jpnet_sw.storage import storage_bytes

    network = load_model(workspace)
    data = load_test_images(network, data_root=data_root, count=count)
    counts = measure(network, data.images, data.labels).summary()
    table = Table(title=f"{network.name} on {counts['images']:,} test images, MACs per image")
    table.add_column("layer")
    for column in ("weights %", "inputs %", "dense", "weights only", "effective", "product"):
        table.add_column(column, justify="right")
    for layer in counts["layers"]:
        table.add_row(
            layer["name"],
            f"{100 * layer['weight_density']:.2f}",
            f"{100 * layer['activation_density']:.2f}",
            f"{layer['macs_dense']:,}",
            f"{layer['macs_weight_only']:,}",
            f"{layer['macs_effective']:,.1f}",
            f"{layer['macs_product']:,.1f}",
        )
    table.add_row(
        *("all", "", ""),
        f"{counts['macs_dense']:,}",
        f"{counts['macs_weight_only']:,}",
        f"{counts['macs_effective']:,.1f}",
        f"{counts['macs_product']:,.1f}",
    )
    console.print(table)
    sizes = (f"{name} {size:,}" for name, size in storage_bytes(network).items())
    console.print(f"bytes of the weights: {', '.join(sizes)}")
    console.print(f"accuracy {100 * counts['accuracy_int8']:.2f} %")
