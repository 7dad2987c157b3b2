"""Sparse variational dropout: weights that can be all noise are cut."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.method import PruningMethod, TrainedOptions
from jpnet_sw.sparsity.options import option
from jpnet_sw.sparsity.products import products
from jpnet_sw.sparsity.target import PrunableLayer

__all__ = ["VariationalDropout", "VariationalDropoutOptions", "dropout_divergence"]

_K1, _K2, _K3 = 0.63576, 1.8732, 1.48695
_CLIP = 8.0


def dropout_divergence(log_alpha: Tensor) -> Tensor:
    """Return the approximate divergence of each weight from the log-uniform prior."""
    rise = _K1 * (_K2 + _K3 * log_alpha).sigmoid()
    return _K1 - rise + 0.5 * functional.softplus(-log_alpha)


@dataclass(frozen=True, kw_only=True, slots=True)
class VariationalDropoutOptions(TrainedOptions):
    """Options of `VariationalDropout`."""

    strength: float = option(1.0, "weight of the divergence after the warm-up", low=0)
    warm_from: float = option(0.025, "share of the active part without divergence", low=0, high=1)
    warm_to: float = option(0.1, "share from which it has its full weight", low=0, high=1)
    threshold: float = option(3.0, "log(variance / w^2) from which a weight is cut", low=-8, high=8)

    def __post_init__(self) -> None:
        TrainedOptions.__post_init__(self)
        if self.warm_to < self.warm_from:
            raise ValueError(
                f"{type(self).__name__}.warm_to must be at least warm_from, {self.warm_from!r}, "
                f"not {self.warm_to!r}"
            )


class VariationalDropout(PruningMethod):
    """Each weight has a variance; sums are drawn once for each output and image.

    The loss gains the sum of all divergences over the number of training images, after a warm-up.
    """

    SUMMARY: ClassVar[str] = "a variance per weight; weights that are mostly noise die"
    SOURCE: ClassVar[str] = "Molchanov, Ashukha, Vetrov, ICML 2017, arXiv 1701.05369"
    UNUSED = frozenset({"densities", "rounds"})
    Options = VariationalDropoutOptions
    options: VariationalDropoutOptions

    def prepare(self) -> None:
        """Give each weight a small variance."""
        self.log_variance = {
            layer.name: self.learn(
                "log_variance", layer.name, torch.full_like(layer.linear.weight.detach(), -10.0)
            )
            for layer in self.layers
        }

    def log_alpha(self, layer: PrunableLayer) -> Tensor:
        """Return each weight's ``log(variance / w^2)``, clipped."""
        squared = layer.linear.weight.square()
        return (self.log_variance[layer.name] - (squared + 1e-8).log()).clamp(-_CLIP, _CLIP)

    def attach(self) -> None:
        """Add noise to the sums in training, leave out what will be cut in evaluation."""
        for layer in self.layers:
            self.hook(
                layer.linear.register_forward_hook(
                    lambda module, inputs, output, layer=layer: self._sums(layer, inputs[0], output)
                )
            )

    def _sums(self, layer: PrunableLayer, inputs: Tensor, output: Tensor) -> Tensor:
        linear, log_alpha = layer.linear, self.log_alpha(layer)
        if not linear.training:
            living = (log_alpha < self.options.threshold).float()
            return products(linear, inputs, linear.weight * living, linear.bias)
        spread = log_alpha.exp() * linear.weight.square()
        variance = products(linear, inputs.square(), spread).float()
        noise = torch.randn(output.shape).to(output.device)
        return output + ((variance + 1e-8).sqrt() * noise).to(output.dtype)

    def penalty(self, clock: Clock) -> Tensor | None:
        """Return the divergence, as far as the warm-up lets it count."""
        warmth = clock.ramp(self.options.warm_from, self.options.warm_to)
        if warmth == 0:
            return None
        parts = [dropout_divergence(self.log_alpha(layer)).sum() for layer in self.layers]
        return warmth * self.options.strength * torch.stack(parts).sum() / clock.images

    def final_masks(self) -> dict[str, Tensor]:
        """Cut the weights that are mostly noise."""
        return {layer.name: self.log_alpha(layer) < self.options.threshold for layer in self.layers}

    @torch.no_grad()
    def facts(self) -> dict[str, Any]:
        """Return the mean ``log(variance / w^2)`` of each layer."""
        means = {layer.name: float(self.log_alpha(layer).mean()) for layer in self.layers}
        return {"mean_log_alpha": means}
