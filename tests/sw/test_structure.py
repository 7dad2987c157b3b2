from itertools import pairwise

import pytest
import torch

from jpnet_sw.sparsity.selector import largest
from jpnet_sw.sparsity.structure import (
    Structure,
    balanced_mask,
    block_max_mask,
    block_sizes,
    group_scores,
    widen,
)


@pytest.fixture
def weight():
    """Rows of unequal scale, as a convolution's."""
    generator = torch.Generator().manual_seed(11)
    rows = torch.randn(32, 5, 5, 5, generator=generator)
    return rows * (0.6 * torch.randn(32, 1, 1, 1, generator=generator)).exp()


def blocks_of(row, size):
    return [row[start : start + size] for start in range(0, len(row), size)]


@pytest.mark.parametrize("size", [1, 2, 16, 128, 256])
def test_exactly_the_largest_of_each_block_lives(weight, size):
    sizes = torch.full((32,), size)
    mask = block_max_mask(weight.abs(), sizes)
    assert mask.sum() == 32 * -(-125 // size)
    for row, kept in zip(weight.flatten(1), mask.flatten(1), strict=True):
        for block, living in zip(blocks_of(row, size), blocks_of(kept, size), strict=True):
            assert living.sum() == 1
            assert block[living == 1].abs() == block.abs().max()


def test_a_tie_goes_to_the_first():
    assert block_max_mask(torch.zeros(1, 6), torch.tensor([4])).tolist() == [[1, 0, 0, 0, 1, 0]]


def test_larger_blocks_only_remove(weight):
    masks = [block_max_mask(weight.abs(), torch.full((32,), 2**k)) for k in range(8)]
    for small, large in pairwise(masks):
        assert torch.all(large <= small)


@pytest.mark.parametrize("density", [0.03, 0.1, 0.3])
def test_sizes_spend_the_budget_up_to_one_doubling(weight, density):
    sizes = block_sizes(weight.abs(), density)
    living = int((-(-125 // sizes)).sum())
    assert living <= int(density * weight.numel())
    # Halving the blocks of any row of the smallest effect would leave the budget.
    step = (-(-125 // (sizes // 2).clamp_min(1))) - (-(-125 // sizes))
    largest_step = int(step.max())
    assert living + largest_step * 8 > int(density * weight.numel())


def test_rows_that_keep_more_get_smaller_blocks(weight):
    sizes = block_sizes(weight.abs(), 0.1)
    survivors = largest(weight.abs(), 400).flatten(1).sum(1)
    order = survivors.argsort()
    assert torch.all(sizes[order].diff() <= 0)
    assert len(set(sizes.tolist())) > 2


def test_equal_rows_get_equal_blocks():
    row = torch.rand(1, 64, generator=torch.Generator().manual_seed(2))
    assert len(set(block_sizes(row.repeat(8, 1), 0.25).tolist())) == 1


def test_row_sizes_keep_more_magnitude_than_one_size(weight):
    sizes = block_sizes(weight.abs(), 1 / 16)
    darb = block_max_mask(weight.abs(), sizes)
    bmwm = block_max_mask(weight.abs(), torch.full((32,), 16))
    free = largest(weight.abs(), int(darb.sum()))
    kept = [float((weight.abs() * mask).sum() / mask.sum()) for mask in (bmwm, darb, free)]
    assert kept == sorted(kept)
    assert kept[0] < kept[1]


def test_a_budget_below_one_weight_a_row_is_refused(weight):
    with pytest.raises(ValueError, match=r"density must be at least 0.008 for 32 rows of 125"):
        block_sizes(weight.abs(), 0.001)


@pytest.mark.parametrize(("lanes", "rows"), [(0, 1), (4, 8), (16, 2), (64, 1)])
def test_every_lane_keeps_as_many(weight, lanes, rows):
    mask = balanced_mask(weight.abs(), 0.1, lanes)
    count = 32 // rows
    sums = torch.stack([mask[lane::count].sum() for lane in range(count)])
    assert torch.all(sums == int(0.1 * 125 * rows))


def test_a_filter_is_scored_by_its_mean(weight):
    assert group_scores(weight, Structure.ELEMENT) is weight
    scores = group_scores(weight.abs(), Structure.FILTER)
    assert torch.allclose(scores, weight.abs().mean(dim=(1, 2, 3)))
    assert widen(scores, weight).shape == weight.shape
