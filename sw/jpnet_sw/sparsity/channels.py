"""Which layers read a layer's output channels, and networks without the channels that are dead."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["ChannelLink", "channel_links", "fit_to", "mask_dead_channels", "remove_channels"]

_TRANSPARENT = (
    nn.BatchNorm2d,
    nn.ReLU,
    nn.LeakyReLU,
    TopNFilter,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Flatten,
)
"""Modules that keep channels apart and an all-zero channel at zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelLink:
    """Where the output channels of a layer go, if nothing but layers with weights reads them.

    Parameters
    ----------
    norms
        Batch normalisations on the way.
    consumers
        Linear and Conv2d modules that read the channels.
    """

    norms: tuple[str, ...]
    consumers: tuple[str, ...]


class _LeafTracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(m.children())


def _is_layer(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def channel_links(model: nn.Module) -> dict[str, ChannelLink]:
    """Return the links of all layers whose output channels can be removed.

    The layer of the logits is none of them, nor is one whose output is added to another's or read
    by anything but batch normalisation, activation functions, filters, pooling and such.

    Parameters
    ----------
    model
        Traceable by `torch.fx`.
    """
    graph = _LeafTracer().trace(model)
    modules = dict(model.named_modules())
    links = {}
    for node in graph.nodes:
        if node.op == "call_module" and _is_layer(modules[str(node.target)]):
            link = _follow(node, modules)
            if link is not None:
                links[str(node.target)] = link
    return links


def _follow(start: fx.Node, modules: Mapping[str, nn.Module]) -> ChannelLink | None:
    norms, consumers = [], []
    waiting = list(start.users)
    while waiting:
        node = waiting.pop()
        module = modules[str(node.target)] if node.op == "call_module" else None
        if _is_layer(module):
            consumers.append(str(node.target))
        elif isinstance(module, _TRANSPARENT):
            if isinstance(module, nn.BatchNorm2d):
                norms.append(str(node.target))
            waiting += node.users
        else:
            return None
    if not consumers:
        return None
    return ChannelLink(norms=tuple(sorted(norms)), consumers=tuple(sorted(consumers)))


def _living_rows(mask: Tensor) -> Tensor:
    return mask.flatten(start_dim=1).any(dim=1)


def mask_dead_channels(
    links: Mapping[str, ChannelLink], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return masks in which weights of dead input channels are dead, and channels nobody reads.

    Only right where the output of a channel without weights is 0, see `WeightMasks.tie_rows`.

    Parameters
    ----------
    masks : layer name to mask, float, shape (oc, ...)
    """
    closed = {name: mask.clone() for name, mask in masks.items()}
    for _ in closed:  # dead channels reach one layer further in each pass
        for name, link in links.items():
            rows = _living_rows(closed[name])
            for consumer in link.consumers:
                grouped = closed[consumer].reshape(len(closed[consumer]), len(rows), -1)
                grouped *= rows[None, :, None]
            read = torch.stack(
                [
                    closed[consumer].reshape(len(closed[consumer]), len(rows), -1).any(2).any(0)
                    for consumer in link.consumers
                ]
            ).any(dim=0)
            closed[name] *= read.reshape(-1, *(1,) * (closed[name].ndim - 1))
    return closed


def _replace(module: nn.Module, name: str, value: Tensor) -> None:
    if name in module._parameters:
        setattr(module, name, nn.Parameter(value))
    else:
        setattr(module, name, value)


def _refresh(module: nn.Module) -> None:
    """Let a module's sizes agree with its tensors."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv2d) and module.groups == 1:
        module.out_channels, module.in_channels = module.weight.shape[:2]
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = len(module.weight)


@torch.no_grad()
def remove_channels(
    model: nn.Module, links: Mapping[str, ChannelLink], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Remove every output channel without living weights, and return the smaller masks.

    Batch normalisation loses the channels' entries, layers that read them the weights; a layer
    keeps at least one channel. The network computes what it did, if those channels were 0.

    Parameters
    ----------
    model
        Changed in place; its parameters are new objects.
    links
        Of the model.
    masks : layer name to mask, float, shape (oc, ...)
    """
    modules = dict(model.named_modules())
    smaller = dict(masks)
    for name, link in links.items():
        rows = _living_rows(smaller[name])
        if rows.all():
            continue
        if not rows.any():
            rows[0] = True
        for owner in (name, *link.norms):
            module = modules[owner]
            for key, tensor in module.state_dict().items():
                if tensor.ndim > 0:
                    _replace(module, key, tensor[rows].clone())
            _refresh(module)
        smaller[name] = smaller[name][rows]
        for consumer in link.consumers:
            module = modules[consumer]
            weight = module.get_parameter("weight")
            _replace(module, "weight", _without_inputs(weight.detach(), rows))
            smaller[consumer] = _without_inputs(smaller[consumer], rows)
            _refresh(module)
    return smaller


def _without_inputs(weight: Tensor, rows: Tensor) -> Tensor:
    if weight.ndim == 4:
        return weight[:, rows].contiguous()
    # A flattened map gives each channel as many neighbouring columns as it has positions.
    grouped = weight.reshape(len(weight), len(rows), -1)
    return grouped[:, rows].flatten(start_dim=1).contiguous()


@torch.no_grad()
def fit_to(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model's parameters and buffers the shapes of saved ones, without their values.

    Parameters
    ----------
    model
        Changed in place.
    tensors : name in the model's state to tensor
    """
    for name, module in model.named_modules():
        for key, tensor in module.state_dict(prefix=f"{name}." if name else "").items():
            if "." in key[len(name) + 1 :] or key not in tensors:
                continue
            if tensor.ndim > 0 and tensor.shape != tensors[key].shape:
                fresh = torch.zeros_like(tensors[key], device=tensor.device)
                _replace(module, key[len(name) + 1 :], fresh)
                _refresh(module)
