"""One weight in each block of a row: BMWM with one block size, DARB with one for each row."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import log2
from typing import ClassVar

import torch
from torch import Tensor

from jpnet_spec.packed_lists import MOST_FIELD_BITS
from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.patterns import each_layer
from jpnet_sw.sparsity.rounds import RoundMethod
from jpnet_sw.sparsity.structure import block_max_mask, block_sizes, from_lists, to_lists
from jpnet_sw.sparsity.target import PrunableLayer

__all__ = ["BlockMax", "BlockMode", "BlockOptions", "Darb"]


class BlockMode(StrEnum):
    """How the masks become final."""

    HARD = "hard"
    """At once; the survivors are chosen anew every epoch of the first third, then stay."""
    PROGRESSIVE = "progressive"
    """Block sizes double from 1; each stage is trained on and only removes weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockOptions(MethodOptions):
    """Options of `BlockMax` and `Darb`."""

    mode: BlockMode = option(BlockMode.PROGRESSIVE, "how the masks become final")
    largest: int = option(0, "largest block size, a power of two; 0 for a whole row", low=0)
    lanes: int = option(0, "cut the lists of so many lanes, not rows; 0 cuts rows", low=0)

    def __post_init__(self) -> None:
        MethodOptions.__post_init__(self)
        if self.largest & (self.largest - 1):
            raise ValueError(
                f"{type(self).__name__}.largest must be a power of two or 0, not {self.largest!r}"
            )


class BlockMax(RoundMethod):
    """Rows are cut into blocks of one size, and the largest magnitude of each block lives.

    The size is the power of two nearest to one over the layer's density. In the hard mode dead
    weights are kept, hidden and without a gradient.

    With ``lanes`` not the rows are cut but what each input meets in each of the accelerator's
    lanes: the lists that it unpacks, see `jpnet_spec.packed_lists`. All lanes have the same blocks.
    """

    SUMMARY: ClassVar[str] = "the largest weight of each block lives, one block size per layer"
    SOURCE: ClassVar[str] = "Ren et al., BMWM, AAAI 2020, arXiv 1911.08020"
    UNUSED = frozenset({"rounds"})
    Options = BlockOptions
    options: BlockOptions

    def prepare(self) -> None:
        """Refuse a budget that rows cannot keep; sizes are 0 until the first step."""
        super().prepare()
        found = self.find_sizes(self.magnitudes())
        self.sizes = self.keep("size", {name: torch.zeros_like(s) for name, s in found.items()})

    def find_sizes(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the block size of each layer's rows or lists, int64, shape (rows,)."""
        return each_layer(self._nearest_size, self.cut(scores), self.target.densities)

    def cut(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return scores with a row for all that is cut alike: an output's, or an input's lists."""
        lanes = self.options.lanes
        return {name: to_lists(s, lanes) if lanes else s for name, s in scores.items()}

    @property
    def parts(self) -> int:
        """Parts of such a row, from one to the next of which no block reaches."""
        return max(1, self.options.lanes)

    @property
    def largest(self) -> int:
        """Largest block, 0 for as long as a row or a lane's list."""
        if self.options.lanes and not self.options.largest:
            return 1 << MOST_FIELD_BITS
        return self.options.largest

    def _nearest_size(self, score: Tensor, density: float) -> Tensor:
        longest = 1 << (score[0].numel() // self.parts - 1).bit_length()
        limit = min(self.largest or longest, longest)
        size = min(1 << max(0, round(-log2(density))), limit)
        return torch.full((len(score),), size, device=score.device)

    @property
    def hides(self) -> bool:
        """Whether a dead weight may be chosen again."""
        return self.options.mode is BlockMode.HARD

    @property
    def rounds(self) -> int:
        """One for each doubling of the progressive mode."""
        return max(int(size.max()).bit_length() for size in self.sizes.values())

    def _settle_sizes(self) -> None:
        if not any(size.any() for size in self.sizes.values()):
            for name, found in self.find_sizes(self.magnitudes()).items():
                self.sizes[name].copy_(found)

    def before_step(self, clock: Clock) -> None:
        """Find the sizes, once."""
        self._settle_sizes()

    def round_begun(self, clock: Clock) -> float | None:
        """Begin a round where blocks double; in the hard mode, with the first third's epochs."""
        if not self.hides:
            return super().round_begun(clock)
        early = 3 * clock.step < clock.active_steps
        return 1.0 if early and clock.every(clock.epoch_steps) else None

    def choose(self, scores: Mapping[str, Tensor], done: float) -> dict[str, Tensor]:
        """Return the survivors in blocks of at most the round's size."""
        most = 1 << (round(done * self.rounds) - 1)
        masks = {
            name: block_max_mask(score, self.sizes[name].clamp_max(most), parts=self.parts)
            for name, score in self.cut(scores).items()
        }
        if not self.options.lanes:
            return masks
        return {
            name: from_lists(mask, self.options.lanes, scores[name].shape)
            for name, mask in masks.items()
        }

    def on_gradient(self, layer: PrunableLayer, gradient: Tensor) -> None:
        """Move only living weights in the hard mode; in the other the dead cannot return."""
        if self.hides:
            gradient.mul_(self.masks.masks[layer.name])

    def finalise(self) -> None:
        """Reach the full sizes, if the steps were too few."""
        if not self.hides:
            self._settle_sizes()
            self.begin_round(1.0)
        super().finalise()


class Darb(BlockMax):
    """As `BlockMax`, with a block size for each row: dense rows get small blocks.

    The paper's text could not be had; this is a reconstruction, see
    `jpnet_sw.sparsity.structure.block_sizes`.
    """

    SUMMARY: ClassVar[str] = "as bmwm, block size of each row by its density when pruned freely"
    SOURCE: ClassVar[str] = "Ren et al., DARB, AAAI 2020, arXiv 1911.08020 (reconstruction)"

    def find_sizes(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the block size of each layer's rows or lists, int64, shape (rows,)."""
        rule = partial(self._own_sizes, largest=self.largest)
        return each_layer(rule, self.cut(scores), self.target.densities)

    def _own_sizes(self, score: Tensor, density: float, *, largest: int) -> Tensor:
        longest = 1 << (score[0].numel() // self.parts - 1).bit_length()
        limit = min(largest, longest) if largest else 0
        return block_sizes(score, density, largest_size=limit, parts=self.parts)
