"""Variational information bottleneck: channels drown in noise that they can do without."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from jpnet_sw.sparsity.gates import GateMethod, GateOptions, GateSite
from jpnet_sw.sparsity.options import option

__all__ = ["Bottleneck", "BottleneckOptions", "bottleneck_divergence"]


def bottleneck_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return half the sum of ``log(1 + mean^2 / variance)``."""
    return 0.5 * torch.log1p(mean.square() / log_variance.exp()).sum()


@dataclass(frozen=True, kw_only=True, slots=True)
class BottleneckOptions(GateOptions):
    """Options of `Bottleneck`."""

    strength: tuple[float, ...] = option((1e-5,), "weight of the divergence", low=0)
    by_width: bool = option(True, "divide a convolution's divergence by its channels")


class Bottleneck(GateMethod):
    """Each channel is multiplied by ``mean + deviation * noise``, noise of its own for each image.

    The factors are on the sums of the hidden layers, after batch normalisation, and on the pixels
    where the first layer is fully connected. The loss gains the divergence ``1/2 log(1 + mean^2 /
    variance)`` times the map's size. A channel is cut when its noise is at least its signal.
    """

    SUMMARY: ClassVar[str] = "multiplicative noise on channels under an information bottleneck"
    SOURCE: ClassVar[str] = "Dai et al., VIBNet, ICML 2018, arXiv 1802.10399"
    Options = BottleneckOptions
    options: BottleneckOptions

    def prepare(self) -> None:
        """Let all factors begin at about 1, with little noise."""
        super().prepare()
        self._map_sizes = {site.key: 1 for site in self.sites}
        self.mean: dict[str, nn.Parameter] = {}
        self.log_variance: dict[str, nn.Parameter] = {}
        for site in self.sites:
            for kind, kept, start in (
                ("mean", self.mean, 1),
                ("log_variance", self.log_variance, -9),
            ):
                kept[site.key] = self.learn(kind, site.key, start + 0.01 * torch.randn(site.size))

    def find_sites(self) -> Iterator[GateSite]:
        """Return the hidden layers' channels, and the pixels of a fully connected network."""
        for layer in self.layers:
            if layer.name in self.target.links:
                yield GateSite(layer=layer, incoming=False)
        if isinstance(self.layers[0].linear, nn.Linear):
            yield GateSite(layer=self.layers[0], incoming=True)

    def gate(self, site: GateSite, tensor: Tensor) -> Tensor:
        """Return the factors, and remember how large a map is."""
        self._map_sizes[site.key] = prod(tensor.shape[2:])
        return super().gate(site, tensor)

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

    def cost(self, site: GateSite) -> Tensor:
        """Return the weighted divergence."""
        weight = self.strength[site.name] * self._map_sizes[site.key]
        if self.options.by_width and isinstance(site.layer.linear, nn.Conv2d):
            weight /= site.size
        return weight * bottleneck_divergence(self.mean[site.key], self.log_variance[site.key])
