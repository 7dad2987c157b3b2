from pathlib import Path

import pytest

from jpnet_cosim.diagrams.drawings import DRAWINGS
from jpnet_cosim.diagrams.lane_timing import record_lane
from jpnet_hw.lane import Lane
from jpnet_hw.weight_lists import WeightLists

IMAGES = Path(__file__).parents[2] / "docs" / "images"


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_drawing_in_the_docs_is_of_this_source(name: str) -> None:
    assert (IMAGES / name).read_bytes() == DRAWINGS[name](), "run make diagrams"


def test_the_lane_is_recorded_without_a_gap() -> None:
    record = record_lane()
    issued = [cycle for cycle, on in enumerate(record["issue"]) if on]
    assert issued == list(range(issued[0], issued[0] + 9))
    assert record["token"][:5] == [0, 1, 2, 3, -1]
    assert len(record["done"]) == len(record["issue"]) == len(record["token"])
    assert WeightLists.LATENCY <= len(record["issue"]) - 9 <= 2 * Lane.LATENCY
