from itertools import product

import numpy as np
import pytest

from jpnet_sw.sparsity.choice import solve_choice


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(5, 5, 5), (1, 4, 2), (3,)])
def test_solver_equals_trying_everything(seed, sizes):
    rng = np.random.default_rng(seed)
    costs = [rng.normal(size=size) for size in sizes]
    loads = [rng.random(size) for size in sizes]
    for budget in (0.2, 0.4, 1.0, 3.0):
        choices = list(product(*(range(size) for size in sizes)))

        def total(values, choice):
            return sum(part[column] for part, column in zip(values, choice, strict=True))

        allowed = [choice for choice in choices if total(loads, choice) <= budget]
        found = solve_choice(costs, loads, budget)
        if not allowed:
            assert found is None
            continue
        assert total(loads, found) <= budget + 1e-6
        least = min(total(costs, choice) for choice in allowed)
        assert total(costs, found) == pytest.approx(least)
