import pytest

from jpnet_sw.sparsity.clock import Clock, cubic_density


def test_density_falls_from_one_to_the_final_density():
    path = [cubic_density(0.02, step / 50) for step in range(51)]
    assert path[0] == 1
    assert path[-1] == 0.02
    assert path == sorted(path, reverse=True)


@pytest.mark.parametrize("rounds", [1, 7, 1000])
@pytest.mark.parametrize("active_steps", [1, 50, 100])
def test_rounds_begin_at_once_and_end_within_the_active_steps(rounds, active_steps):
    begun = [Clock(step=step, active_steps=active_steps).round_begun(rounds) for step in range(100)]
    started = [step for step, done in enumerate(begun) if done is not None]
    count = min(rounds, active_steps)
    assert started[0] == 0
    assert started[-1] < active_steps
    assert [begun[step] for step in started] == pytest.approx(
        [(index + 1) / count for index in range(count)]
    )


def test_progress_ends_at_one():
    assert Clock(step=5, active_steps=10).progress == 0.5
    assert Clock(step=50, active_steps=10).progress == 1


def test_intervals_begin_with_the_first_step():
    assert [Clock(step=step, active_steps=9).every(3) for step in range(5)] == [
        *(True, False, False),
        *(True, False),
    ]


def test_a_ramp_rises_between_two_shares_of_the_progress():
    def ramp(step, low, high):
        return Clock(step=step, active_steps=10).ramp(low, high)

    assert [ramp(step, 0.2, 0.6) for step in (0, 2, 4, 6, 9)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert (ramp(4, 0.5, 0.5), ramp(6, 0.5, 0.5)) == (0, 1)
