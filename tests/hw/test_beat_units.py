from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from jpnet_hw.beat_units import BeatUnits
from jpnet_spec.config import AcceleratorConfig

shared_beat_units = cache(BeatUnits)

UNIT_BYTES = 8


@pytest.mark.parametrize("width", [32, 64, 128, 512])
@pytest.mark.parametrize("source", [0, 0.5])
@pytest.mark.parametrize("sink", [0, 0.5, 0.9])
def test_units_are_the_bytes_of_the_beats_in_order(pass_items, rng, width, source, sink):
    dut = shared_beat_units(replace(AcceleratorConfig(), axi_data_width=width, act_word=64))
    size = width // 8
    sent = rng.integers(0, 256, 64 * max(size, UNIT_BYTES), dtype=np.uint8).tobytes()
    beats = [
        int.from_bytes(sent[place : place + size], "little") for place in range(0, len(sent), size)
    ]
    count = len(sent) // UNIT_BYTES
    units, cycles = pass_items(dut, beats, count=count, source=source, sink=sink)
    assert b"".join(unit.to_bytes(UNIT_BYTES, "little") for unit in units) == sent
    if not source and not sink:
        assert cycles == max(count, len(beats)) + 1, "a cycle of latency, no gaps"
