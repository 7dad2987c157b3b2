import pytest

from jpnet_sw.bench_training import bench_training


@pytest.mark.parametrize("bare", [False, True])
def test_every_kind_of_step_is_measured(bare):
    times = bench_training(steps=3, augmented=not bare, dropout=not bare)
    assert times.steps == 3
    assert min(times.dense_ms, times.jp_ms, times.distilled_ms, times.asked_ms) > 0
    assert min(times.ratio, times.distilled_ratio, times.asked_ratio) > 0


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match=r"steps must be at least 1, not 0"):
        bench_training(steps=0)
