"""One candidate for each of several parts: least cost within a budget, by an integer program."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import block_diag

__all__ = ["solve_choice"]


def solve_choice(
    costs: Sequence[NDArray[np.float64]], loads: Sequence[NDArray[np.float64]], budget: float
) -> list[int] | None:
    """Return which candidate each part takes: least cost, sum of loads within the budget.

    An integer program (HiGHS, through `scipy.optimize.milp`): one binary per part and candidate,
    exactly one candidate per part.

    Parameters
    ----------
    costs, loads
        Of each part's candidates, shape (candidates,); parts may have different numbers of them.
    budget
        Largest sum of loads.

    Returns
    -------
    list of int, or None
        None where even the least loads are over the budget.
    """
    if sum(float(load.min()) for load in loads) > budget:
        return None
    sizes = [len(cost) for cost in costs]
    found = milp(
        np.concatenate(costs),
        integrality=np.ones(sum(sizes)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(block_diag([np.ones((1, size)) for size in sizes]), 1, 1),
            LinearConstraint(np.concatenate(loads)[None], -np.inf, budget),
        ],
    )
    assert found.success
    return [int(part.argmax()) for part in np.split(found.x, np.cumsum(sizes)[:-1])]
