"""The top-N filter as a torch module."""

from math import prod

import torch
from torch import Tensor, nn

from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.sparsity.selection import kth_smallest

__all__ = ["TopNFilter"]


class TopNFilter(nn.Module):
    """A layer's activation filter, by the rule of `jpnet_spec.topn.TopN`.

    It is the same rule on any scale: float activations in the training of the masks, integers in
    quantisation-aware training. The mask depends on the input and is a constant in the backward
    pass, so losers get no gradient.

    Parameters
    ----------
    top_n
        Mode and N; the mode NONE passes everything.
    integers
        Whether it is only given integers up to 127, which takes less time.
    """

    def __init__(self, top_n: TopN | None = None, *, integers: bool = False) -> None:
        super().__init__()
        self.integers = integers
        self.top_n = TopN() if top_n is None else top_n
        self._sampled: dict[tuple[TopN, int, int], Tensor] = {}

    def extra_repr(self) -> str:
        """Return mode and N for printing the model."""
        return f"mode={self.top_n.mode.name}, winners={self.top_n.winners}"

    def threshold(self, tensor: Tensor) -> Tensor:
        """Return each image's threshold, shape (images, 1).

        Parameters
        ----------
        tensor : float, shape (images, channels) or (images, channels, height, width)
        """
        return self._threshold(tensor.detach().abs())

    def _threshold(self, magnitude: Tensor) -> Tensor:
        images, channels = magnitude.shape[:2]
        top_n = self.top_n
        if top_n.mode is ThresholdMode.STATIC:
            return magnitude.new_full((images, 1), float(top_n.static_threshold))
        positions = prod(magnitude.shape[2:])
        if top_n.mode is ThresholdMode.SAMPLED:
            sampled = self._mask(channels, positions, magnitude.device)
            counted = magnitude.reshape(images, channels, positions)[:, sampled]
        else:
            # In any order: channels last needs no copy where convolutions made the tensor.
            counted = magnitude.movedim(1, -1).reshape(images, -1)
        winners = top_n.counted_winners(channels, positions)
        if top_n.mode is ThresholdMode.NONE or winners >= counted.shape[1]:
            return magnitude.new_zeros((images, 1))
        # The smallest t with count(|a| > t) <= N is the (N + 1)-th largest magnitude.
        place = counted.shape[1] - 1 - winners
        return kth_smallest(counted, place, integers=self.integers)

    def forward(self, tensor: Tensor) -> Tensor:
        """Return the tensor with every loser set to 0.

        Parameters
        ----------
        tensor : float, shape (images, channels) or (images, channels, height, width)
        """
        if self.top_n.mode is ThresholdMode.NONE:
            return tensor
        magnitude = tensor.detach().abs()
        threshold = self._threshold(magnitude).reshape((-1,) + (1,) * (tensor.ndim - 1))
        # In place, hence a mask of numbers: booleans would be converted in both passes.
        return tensor * magnitude.gt_(threshold)

    def _mask(self, channels: int, positions: int, device: torch.device) -> Tensor:
        key = (self.top_n, channels, positions)
        if key not in self._sampled:
            self._sampled[key] = torch.from_numpy(self.top_n.sampled(channels, positions))
        return self._sampled[key].to(device)
