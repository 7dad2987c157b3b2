"""A network that was trained elsewhere, as a model file that every command takes."""

from pathlib import Path
from typing import TYPE_CHECKING

from jpnet.provenance import provenance
from jpnet_spec.model_file import save_network

if TYPE_CHECKING:
    from torch import nn

__all__ = ["adopt"]

_CALIBRATION = 2000


def adopt(
    model: "nn.Module",
    path: Path,
    *,
    name: str,
    dataset: str,
    data_root: Path | None = None,
) -> Path:
    """Quantise a trained torch model without further training and write ``model.safetensors``.

    Zero weights stay zero, and `jpnet_sw.sparsity.TopNFilter` modules keep their winners, so a
    network that was pruned elsewhere runs as sparse as it is.

    Parameters
    ----------
    model
        Of the modules that `jpnet_sw.quantisation.capture` takes; images from 0 to 1.
    path
        Where to write.
    name
        The model's name.
    dataset
        Its data set; training images give the activation scales, test images the accuracies.
    data_root
        Folder of the data sets; without it they are downloaded.

    Raises
    ------
    ValueError
        If a module is of another type, or data is missing or damaged.
    """
    import torch

    from jpnet_sw.data import load_dataset
    from jpnet_sw.metrics import accuracy, measure
    from jpnet_sw.quantisation import calibrate, capture, quantise, to_integer_network
    from jpnet_sw.recipe.images import float_images

    data = load_dataset(dataset, data_root)
    device = torch.device("cpu")
    layers = capture(model.to(device).eval())
    scales = calibrate(layers, float_images(data.train_images[:_CALIBRATION], device))
    quantised = quantise(layers, scales).eval()
    labels = torch.from_numpy(data.test_labels)
    facts = {
        "dataset": dataset,
        "accuracy_jp": accuracy(model, float_images(data.test_images, device), labels),
        "provenance": provenance(seed=None, data=dataset),
    }
    plain = to_integer_network(quantised, name=name, input_shape=data.image_shape, metadata={})
    counts = measure(plain, data.test_activations(), data.test_labels)
    network = to_integer_network(
        quantised,
        name=name,
        input_shape=data.image_shape,
        metadata={**facts, **counts.summary()},
    )
    save_network(network, path)
    return path
