"""Read a torch model as a chain of layers that the integer network can express."""

from dataclasses import dataclass

from torch import nn

from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["CapturedLayer", "capture"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CapturedLayer:
    """One layer with everything that is fused into it.

    Parameters
    ----------
    name
        Name of the linear module.
    linear
        Weights and bias.
    relu
        Whether negative sums become 0; otherwise the activation is the identity.
    top_n
        The filter of the output, or None.
    dropout
        Used in training only, or None.
    """

    name: str
    linear: nn.Linear
    relu: bool = False
    top_n: TopNFilter | None = None
    dropout: nn.Dropout | None = None


def capture(model: nn.Sequential) -> list[CapturedLayer]:
    """Return the layers of a model in execution order.

    Parameters
    ----------
    model
        A chain of Flatten, Linear, ReLU, TopNFilter and Dropout modules.

    Raises
    ------
    ValueError
        If a module is of another type, or follows one that it cannot be fused with.
    """
    layers: list[CapturedLayer] = []
    for name, module in model.named_children():
        if isinstance(module, nn.Flatten) and not layers:
            continue
        if isinstance(module, nn.Linear):
            layers.append(CapturedLayer(name=name, linear=module))
            continue
        if not isinstance(module, nn.ReLU | TopNFilter | nn.Dropout):
            raise ValueError(
                f"layer {name!r} must be Linear, ReLU, TopNFilter, Dropout or a leading Flatten, "
                f"not {type(module).__name__!r}"
            )
        if not layers:
            raise ValueError(f"layer {name!r} must follow a Linear layer, not begin the model")
        layers[-1] = _fuse(layers[-1], name, module)
    if not layers:
        raise ValueError("model must have at least one Linear layer, not 0")
    return layers


def _fuse(layer: CapturedLayer, name: str, module: nn.Module) -> CapturedLayer:
    late = layer.dropout is not None or layer.top_n is not None
    relu, top_n, dropout = layer.relu, layer.top_n, layer.dropout
    if isinstance(module, nn.ReLU) and not relu and not late:
        relu = True
    elif isinstance(module, TopNFilter) and not late:
        top_n = module
    elif isinstance(module, nn.Dropout) and dropout is None:
        dropout = module
    else:
        raise ValueError(
            f"layer {name!r} must come in the order Linear, ReLU, TopNFilter, Dropout, "
            f"not as {type(module).__name__!r} there"
        )
    return CapturedLayer(
        name=layer.name, linear=layer.linear, relu=relu, top_n=top_n, dropout=dropout
    )
