"""One weight in each block of a row: BMWM with one block size, DARB with one for each row."""

from dataclasses import dataclass
from enum import StrEnum
from math import log2
from typing import ClassVar

import torch
from torch import Tensor

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.method import PruningMethod, PruningTarget
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.structure import block_max_mask, block_sizes

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

    def __post_init__(self) -> None:
        MethodOptions.__post_init__(self)
        if self.largest & (self.largest - 1):
            raise ValueError(
                f"{type(self).__name__}.largest must be a power of two or 0, not {self.largest!r}"
            )


class BlockMax(PruningMethod):
    """Rows are cut into blocks of one size, and the largest magnitude of each block lives.

    The size is the power of two nearest to one over the layer's density. In the hard mode dead
    weights are kept, hidden and without a gradient.
    """

    SUMMARY: ClassVar[str] = "the largest weight of each block lives, one block size per layer"
    SOURCE: ClassVar[str] = "Ren et al., BMWM, AAAI 2020, arXiv 1911.08020"
    Options = BlockOptions

    def __init__(self, target: PruningTarget, options: BlockOptions) -> None:
        super().__init__(target, options)
        self.options = options
        rows = {layer.name: len(layer.linear.weight) for layer in self.layers}
        device = self.layers[0].linear.weight.device
        # 0 until they are found.
        self.sizes = self.keep(
            "size", {n: torch.zeros(r, dtype=torch.int64, device=device) for n, r in rows.items()}
        )

    def find_sizes(self, name: str, score: Tensor) -> Tensor:
        """Return the block size of each row."""
        exponent = max(0, round(-log2(self.target.densities[name])))
        limit = self.options.largest or 1 << (score[0].numel() - 1).bit_length()
        return torch.full((len(score),), min(1 << exponent, limit), device=score.device)

    def attach(self) -> None:
        """Keep the hidden weights in the hard mode."""
        if self.options.mode is BlockMode.HARD and not self.masks.shadows:
            self.masks.keep_shadows()

    def _mask(self, *, most: int | None = None) -> None:
        """Choose the survivors in blocks of at most a size."""
        masks = {}
        for layer in self.layers:
            name = layer.name
            score, sizes = self.masks.dense(name).abs(), self.sizes[name]
            mask = block_max_mask(score, sizes if most is None else sizes.clamp_max(most))
            # Larger blocks only ever remove; without hidden weights the dead score 0.
            hidden = name in self.masks.shadows
            masks[name] = mask if hidden else mask * self.masks.masks[name]
        self.masks.set(masks)

    def _find_all_sizes(self) -> None:
        for layer in self.layers:
            if not self.sizes[layer.name].any():
                score = self.masks.dense(layer.name).abs()
                self.sizes[layer.name].copy_(self.find_sizes(layer.name, score))

    @torch.no_grad()
    def before_step(self, clock: Clock) -> None:
        """Choose the survivors where a stage begins."""
        self._find_all_sizes()
        if self.options.mode is BlockMode.HARD:
            if clock.step % clock.epoch_steps == 0 and 3 * clock.step < clock.active_steps:
                self._mask()
            return
        stages = max(int(size.max()).bit_length() for size in self.sizes.values())
        done = clock.round_begun(stages)
        if done is not None:
            self._mask(most=1 << (round(done * stages) - 1))

    @torch.no_grad()
    def after_backward(self, clock: Clock) -> None:
        """Move only living weights."""
        if self.options.mode is BlockMode.HARD:
            self.masks.mask_gradients()

    @torch.no_grad()
    def finalise(self) -> None:
        """Reach the full sizes, if the steps were too few."""
        if self.options.mode is BlockMode.PROGRESSIVE:
            self._find_all_sizes()
            self._mask()


class Darb(BlockMax):
    """As `BlockMax`, with a block size for each row: dense rows get small blocks.

    The paper's text could not be had; this is a reconstruction, see
    `jpnet_sw.sparsity.structure.block_sizes`.
    """

    SUMMARY: ClassVar[str] = "as bmwm, block size of each row by its density when pruned freely"
    SOURCE: ClassVar[str] = "Ren et al., DARB, AAAI 2020, arXiv 1911.08020 (reconstruction)"

    def __init__(self, target: PruningTarget, options: BlockOptions) -> None:
        super().__init__(target, options)
        for layer in self.layers:  # refuses a budget that rows cannot keep
            self.find_sizes(layer.name, layer.linear.weight.detach().abs())

    def find_sizes(self, name: str, score: Tensor) -> Tensor:
        """Return the block size of each row."""
        density = self.target.densities[name]
        try:
            return block_sizes(score, density, largest_size=self.options.largest)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from error
