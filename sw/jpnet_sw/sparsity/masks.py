"""Static weight masks: what lives, and, where a method wants it, what the hidden weights are."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from jpnet_sw.sparsity.selector import densest
from jpnet_sw.sparsity.structure import widen

__all__ = ["WeightMasks"]


class WeightMasks:
    """One mask per weight tensor: 1 where the weight lives, 0 where it is pruned.

    Without shadows a pruned weight stays pruned. With them the pruned weights live on where the
    network does not see them: `reveal` puts them back for the optimiser's step, `apply` hides them.

    Parameters
    ----------
    weights : layer name to float parameter, any shape
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = dict(weights)
        self.masks = {name: torch.ones_like(weight) for name, weight in self._weights.items()}
        self.shadows: dict[str, Tensor] = {}
        self._revealed = False
        self._vectors: dict[str, tuple[Tensor, ...]] = {}
        self._living_rows: dict[str, Tensor] = {}

    def weight(self, name: str) -> Tensor:
        """Return a layer's parameter, as the network sees it now."""
        return self._weights[name]

    def dense(self, name: str) -> Tensor:
        """Return a layer's weights, the hidden ones too where there are shadows."""
        if self._revealed or name not in self.shadows:
            return self._weights[name].detach()
        return self.shadows[name]

    @torch.no_grad()
    def keep_shadows(self) -> None:
        """Keep pruned weights from now on."""
        self.shadows = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def drop_shadows(self) -> None:
        """Forget the pruned weights."""
        self.apply()
        self.shadows = {}

    def tie_rows(self, name: str, vectors: Sequence[Tensor]) -> None:
        """Set elements of vectors, such as a bias, to 0 with the last weight of their row.

        Parameters
        ----------
        vectors : parameters of shape (rows,)
        """
        self._vectors[name] = tuple(vectors)
        self._find_rows(name)

    def _find_rows(self, name: str) -> None:
        if name in self._vectors:
            living = self.masks[name].flatten(start_dim=1).any(dim=1)
            self._living_rows[name] = living.to(self.masks[name].dtype)

    def set(self, masks: Mapping[str, Tensor]) -> None:
        """Take over masks and apply them; what is dead stays dead where there is no shadow.

        Parameters
        ----------
        masks : layer name to mask, numbers or booleans, shape of the weight or (oc,)
        """
        for name, mask in masks.items():
            weight = self._weights[name]
            living = widen(mask.to(weight.device, weight.dtype), weight)
            hidden = name in self.shadows
            self.masks[name] = living.contiguous() if hidden else living * self.masks[name]
            self._find_rows(name)
        self.apply()

    @torch.no_grad()
    def tighten(self, densities: Mapping[str, float]) -> None:
        """Prune each layer's smallest magnitudes down to a density.

        Parameters
        ----------
        densities : layer name to density, above 0 and at most 1

        Raises
        ------
        ValueError
            If a layer is unknown or a density is out of range.
        """
        tightened = {}
        for name, density in densities.items():
            if name not in self._weights:
                raise ValueError(f"densities must name layers of the model, not {name!r}")
            if not 0 < density <= 1:
                raise ValueError(f"densities[{name!r}] must be above 0, at most 1, not {density!r}")
            magnitude = self._weights[name].abs() * self.masks[name]
            tightened[name] = densest(magnitude, density)
        self.set(tightened)

    @torch.no_grad()
    def apply(self) -> None:
        """Hide every pruned weight; called after each optimiser step."""
        for name, weight in self._weights.items():
            shadow = self.shadows.get(name)
            if shadow is None:
                weight.mul_(self.masks[name])
            else:
                if self._revealed:
                    shadow.copy_(weight)
                weight.copy_(shadow * self.masks[name])
            for vector in self._vectors.get(name, ()):
                vector.mul_(self._living_rows[name])
        self._revealed = False

    @torch.no_grad()
    def reveal(self) -> None:
        """Put the hidden weights back, if any are kept, for the optimiser's step."""
        for name, shadow in self.shadows.items():
            self._weights[name].copy_(shadow)
        self._revealed = bool(self.shadows)

    @torch.no_grad()
    def shrink(self, learning_rate: float, *, l1: float, l2: float) -> None:
        """Regularise the weights: ``rate * l1`` towards 0, then ``1 - rate * l2`` times."""
        for weight in self._weights.values():
            shrunk = nn.functional.softshrink(weight, learning_rate * l1)
            weight.copy_(shrunk * (1 - learning_rate * l2))

    def densities(self) -> dict[str, float]:
        """Return the share of living weights per layer."""
        return {name: float(mask.mean()) for name, mask in self.masks.items()}

    def load(
        self, masks: Mapping[str, Tensor], shadows: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take over masks and shadows that were saved, without applying them."""
        for name, mask in masks.items():
            self.masks[name] = mask.to(self._weights[name].device)
            self._find_rows(name)
        self.shadows = {
            name: shadow.to(self._weights[name].device) for name, shadow in (shadows or {}).items()
        }
