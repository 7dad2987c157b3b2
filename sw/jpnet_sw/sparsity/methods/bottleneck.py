"""Variational information bottleneck: channels drown in noise that they can do without."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.gates import GateMethod, GateSite
from jpnet_sw.sparsity.method import PruningTarget
from jpnet_sw.sparsity.options import MethodOptions, option

__all__ = ["Bottleneck", "BottleneckOptions", "bottleneck_divergence"]


def bottleneck_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return half the sum of ``log(1 + mean^2 / variance)``."""
    return 0.5 * torch.log1p(mean.square() / log_variance.exp()).sum()


@dataclass(frozen=True, kw_only=True, slots=True)
class BottleneckOptions(MethodOptions):
    """Options of `Bottleneck`."""

    strength: tuple[float, ...] = option((1e-5,), "weight of the divergence", low=0)
    by_width: bool = option(True, "divide a convolution's divergence by its channels")
    gate_rate: float = option(10.0, "learning rate of the factors over that of the weights", low=0)


class Bottleneck(GateMethod):
    """Each channel is multiplied by ``mean + deviation * noise``, noise of its own for each image.

    The factors are on the sums of the hidden layers, after batch normalisation, and on the pixels
    where the first layer is fully connected. The loss gains the divergence ``1/2 log(1 + mean^2 /
    variance)`` times the map's size. A channel is cut when its noise is at least its signal.
    """

    SUMMARY: ClassVar[str] = "multiplicative noise on channels under an information bottleneck"
    SOURCE: ClassVar[str] = "Dai et al., VIBNet, ICML 2018, arXiv 1802.10399"
    Options = BottleneckOptions

    def __init__(self, target: PruningTarget, options: BottleneckOptions) -> None:
        sites = [
            GateSite(layer=layer, incoming=False)
            for layer in target.layers
            if layer.name in target.links
        ]
        if isinstance(target.layers[0].linear, nn.Linear):
            sites.append(GateSite(layer=target.layers[0], incoming=True))
        super().__init__(target, options, tuple(sites))
        self._options = options
        self._strength = target.per_layer(options, "strength")
        self._map_sizes = {site.key: 1 for site in self.sites}
        self.mean: dict[str, nn.Parameter] = {}
        self.log_variance: dict[str, nn.Parameter] = {}
        for site in self.sites:
            mean = 1 + 0.01 * torch.randn(site.size)
            log_variance = -9 + 0.01 * torch.randn(site.size)
            self.mean[site.key] = self.new_parameter("mean", site, mean)
            self.log_variance[site.key] = self.new_parameter("log_variance", site, log_variance)

    @property
    def gate_rate(self) -> float:
        """Learning rate of the factors over that of the weights."""
        return self._options.gate_rate

    def _gate(self, site: GateSite, tensor: Tensor) -> Tensor:
        self._map_sizes[site.key] = prod(tensor.shape[2:])
        return super()._gate(site, tensor)

    def draw(self, site: GateSite, images: int) -> Tensor:
        """Return each image's factors."""
        mean, log_variance = self.mean[site.key], self.log_variance[site.key]
        noise = torch.randn(images, site.size).to(mean.device)
        return mean + (0.5 * log_variance).exp() * noise

    def certain(self, site: GateSite) -> Tensor:
        """Return the means of the channels whose signal exceeds their noise."""
        mean = self.mean[site.key].detach()
        noisy = self.log_variance[site.key].detach() >= mean.square().log()
        return torch.where(noisy, 0.0, mean)

    def penalty(self, clock: Clock) -> Tensor:
        """Return the weighted divergence."""
        costs = []
        for site in self.sites:
            weight = self._strength[site.name] * self._map_sizes[site.key]
            if self._options.by_width and isinstance(site.layer.linear, nn.Conv2d):
                weight /= site.size
            divergence = bottleneck_divergence(self.mean[site.key], self.log_variance[site.key])
            costs.append(weight * divergence)
        return torch.stack(costs).sum()
