"""L0 regularisation by hard concrete gates."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from typing import ClassVar

import torch
from torch import Tensor, nn

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.gates import GateMethod, GateOptions, GateSite
from jpnet_sw.sparsity.options import option

__all__ = ["HardConcrete", "HardConcreteOptions", "chance_alive", "hard_concrete"]

_BETA, _GAMMA, _ZETA = 2 / 3, -0.1, 1.1
_LEAST, _MOST = log(1e-2), log(1e2)


def hard_concrete(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """Return gates, 0 to 1, of random numbers between 0 and 1."""
    noise = uniform.log() - (1 - uniform).log()
    stretched = ((noise + log_alpha) / _BETA).sigmoid() * (_ZETA - _GAMMA) + _GAMMA
    return stretched.clamp(0, 1)


def chance_alive(log_alpha: Tensor) -> Tensor:
    """Return the probability that a gate is not 0."""
    return (log_alpha - _BETA * log(-_GAMMA / _ZETA)).sigmoid()


@dataclass(frozen=True, kw_only=True, slots=True)
class HardConcreteOptions(GateOptions):
    """Options of `HardConcrete`."""

    strength: tuple[float, ...] = option((0.1,), "penalty per living weight (lambda)", low=0)
    weight_decay: float = option(0.0, "L2 penalty of living weights", low=0)
    dropout: float = option(0.5, "chance of a gate to be closed at first", low=0.01, high=0.99)
    per_image: bool = option(True, "gates of its own for each image of a batch")


class HardConcrete(GateMethod):
    """A gate on each output map of a convolution and each input of a fully connected layer.

    The loss gains ``1/n * sum P(gate > 0) * (strength * weights + decay / 2 * ||w||^2)`` over all
    gates, n the number of training images. A gate whose value without noise is 0 is cut.
    """

    SUMMARY: ClassVar[str] = "L0 penalty through hard concrete gates on maps and neurons"
    SOURCE: ClassVar[str] = "Louizos, Welling, Kingma, ICLR 2018, arXiv 1712.01312"
    Options = HardConcreteOptions
    options: HardConcreteOptions

    def prepare(self) -> None:
        """Let all gates begin with the same chance to be closed, nearly."""
        super().prepare()
        start = log(1 - self.options.dropout) - log(self.options.dropout)
        self.log_alpha = {
            site.key: self.learn("log_alpha", site.key, start + 0.01 * torch.randn(site.size))
            for site in self.sites
        }

    def find_sites(self) -> Iterator[GateSite]:
        """Return the maps that nothing is added to, and the inputs of fully connected layers."""
        for layer in self.layers:
            incoming = isinstance(layer.linear, nn.Linear)
            if incoming or layer.name in self.target.links:
                yield GateSite(layer=layer, incoming=incoming)

    def draw(self, site: GateSite, images: int) -> Tensor:
        """Return gates for each image, or the same for all."""
        log_alpha = self.log_alpha[site.key]
        count = images if self.options.per_image else 1
        uniform = torch.rand(count, site.size).to(log_alpha.device)
        return hard_concrete(log_alpha, uniform.clamp(1e-6, 1 - 1e-6))

    def certain(self, site: GateSite) -> Tensor:
        """Return the gates without noise."""
        log_alpha = self.log_alpha[site.key]
        return (log_alpha.sigmoid() * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1).detach()

    def cost(self, site: GateSite) -> Tensor:
        """Return the expected cost of the living weights."""
        cost = self.strength[site.name] * site.group_weights()
        decay = 0.5 * self.options.weight_decay * site.squares()
        return (chance_alive(self.log_alpha[site.key]) * (cost + decay)).sum()

    def penalty(self, clock: Clock) -> Tensor:
        """Return the costs of all sites per training image."""
        return super().penalty(clock) / clock.images

    def after_step(self, clock: Clock) -> None:
        """Keep the gates' parameters in range."""
        for log_alpha in self.log_alpha.values():
            log_alpha.clamp_(_LEAST, _MOST)
