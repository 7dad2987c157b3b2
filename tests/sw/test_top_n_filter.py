import numpy as np
import pytest
import torch

from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.sparsity import TopNFilter
from jpnet_sw.sparsity.selection import kth_smallest

MODES = [
    TopN(),
    TopN(mode=ThresholdMode.EXACT, winners=1),
    TopN(mode=ThresholdMode.EXACT, winners=7),
    TopN(mode=ThresholdMode.EXACT, winners=30),
    TopN(mode=ThresholdMode.SAMPLED, winners=7, sample_stride=3),
    TopN(mode=ThresholdMode.STATIC, static_threshold=40),
]


@pytest.mark.parametrize("top_n", MODES)
@pytest.mark.parametrize("spread", [0, 2, 127])
@pytest.mark.parametrize("shape", [(30,), (6, 5, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("integers", [False, True])
def test_survivors_equal_the_specification_on_integers(rng, top_n, spread, shape, dtype, integers):
    tensor = rng.integers(-spread, spread + 1, (50, *shape)).astype(np.int8)
    kept = TopNFilter(top_n, integers=integers)(torch.from_numpy(tensor).to(dtype)).float().numpy()
    assert np.array_equal(kept, top_n.keep(tensor, top_n.threshold(tensor)))


def test_losers_get_no_gradient_and_winners_all_of_it():
    tensor = torch.tensor([[3.0, -5.0, 1.0, 4.0]], requires_grad=True)
    kept = TopNFilter(TopN(mode=ThresholdMode.EXACT, winners=2))(tensor)
    kept.backward(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert kept.tolist() == [[0, -5, 0, 4]]
    assert tensor.grad.tolist() == [[0, 2, 0, 4]]


def test_all_tied_elements_lose():
    kept = TopNFilter(TopN(mode=ThresholdMode.EXACT, winners=3))(torch.full((2, 9), 0.5))
    assert kept.count_nonzero() == 0


def test_printed_filter_shows_mode_and_winners():
    assert "mode=EXACT, winners=3" in repr(TopNFilter(TopN(mode=ThresholdMode.EXACT, winners=3)))


@pytest.mark.parametrize("share", [0, 0.01, 0.57, 0.98, 1])
@pytest.mark.parametrize("elements", [1, 100, 512, 513, 2000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_selection_equals_sorting(share, elements, dtype):
    torch.manual_seed(3)
    place = round(share * (elements - 1))
    rows = torch.rand(20, elements).mul(torch.rand(20, 1) * 50).relu().to(dtype)
    rows[:, ::3] = 0
    wanted = rows.float().sort(dim=1).values[:, place, None]
    assert torch.equal(kth_smallest(rows, place, integers=False).float(), wanted)
    whole = rows.floor()
    wanted = whole.float().sort(dim=1).values[:, place, None]
    assert torch.equal(kth_smallest(whole, place, integers=True).float(), wanted)
