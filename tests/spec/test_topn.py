import numpy as np
import pytest

from jpnet_spec.topn import ThresholdMode, TopN, winners_for_rate


def definition(magnitudes, winners):
    return next(t for t in range(128) if sum(m > t for m in magnitudes) <= winners)


@pytest.mark.parametrize("spread", [3, 20, 127])
@pytest.mark.parametrize("winners", [1, 7, 63, 64])
def test_threshold_equals_its_definition(spread, winners):
    rng = np.random.default_rng(winners)
    tensor = rng.integers(-spread, spread + 1, (50, 64)).astype(np.int8)
    top_n = TopN(mode=ThresholdMode.EXACT, winners=winners)
    expected = [definition(np.abs(row.astype(int)), winners) for row in tensor]
    assert top_n.threshold(tensor).tolist() == expected


def test_never_more_than_n_winners_and_ties_lose():
    tensor = np.array([[5, 5, 5, 5, 3, 0, -5, 9]], dtype=np.int8)
    top_n = TopN(mode=ThresholdMode.EXACT, winners=3)
    threshold = top_n.threshold(tensor)
    assert threshold.tolist() == [5]
    assert top_n.keep(tensor, threshold).tolist() == [[0, 0, 0, 0, 0, 0, 0, 9]]


def test_threshold_is_indifferent_to_order():
    rng = np.random.default_rng(1)
    tensor = rng.integers(-127, 128, (20, 40)).astype(np.int8)
    top_n = TopN(mode=ThresholdMode.EXACT, winners=11)
    shuffled = tensor[:, rng.permutation(40)]
    assert np.array_equal(top_n.threshold(tensor), top_n.threshold(shuffled))


def test_sampled_threshold_counts_the_documented_subset():
    rng = np.random.default_rng(2)
    tensor = rng.integers(-127, 128, (10, 5, 3, 4)).astype(np.int8)
    top_n = TopN(mode=ThresholdMode.SAMPLED, winners=20, sample_stride=4)
    chosen = [(c, p) for c in range(5) for p in range(12) if (c + p) % 4 == 0]
    wanted = -(-20 * len(chosen) // 60)
    flat = np.abs(tensor.reshape(10, 5, 12).astype(int))
    expected = [definition([row[c, p] for c, p in chosen], wanted) for row in flat]
    assert top_n.threshold(tensor).tolist() == expected


def test_static_and_none_ignore_the_tensor():
    tensor = np.full((2, 4), 100, dtype=np.int8)
    assert TopN().threshold(tensor).tolist() == [0, 0]
    static = TopN(mode=ThresholdMode.STATIC, static_threshold=100)
    assert not static.keep(tensor, static.threshold(tensor)).any()


@pytest.mark.parametrize(
    ("rate", "elements", "winners"), [(0.12, 300, 36), (0.07, 100, 7), (1, 5, 5)]
)
def test_winners_are_the_exact_ceiling(rate, elements, winners):
    assert winners_for_rate(rate, elements) == winners


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": ThresholdMode.EXACT, "winners": 0}, "TopN.winners must be at least 1"),
        ({"static_threshold": 128}, "TopN.static_threshold must be between 0 and 127"),
        (
            {"mode": ThresholdMode.SAMPLED, "winners": 1, "sample_stride": 1},
            "TopN.sample_stride must be between 2 and 256",
        ),
    ],
)
def test_parameters_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TopN(**arguments)


def test_more_winners_than_elements_are_refused():
    with pytest.raises(ValueError, match="at most the layer's 10 elements, not 11"):
        TopN(mode=ThresholdMode.EXACT, winners=11).check_elements(10)
