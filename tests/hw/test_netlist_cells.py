import json

import pytest

from jpnet_hw.netlist_cells import PARTS, count_parts, read_cells
from jpnet_hw.pin_wrapper import WRAPPER


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("dut.cluster_3.group_0.lane_1.accumulator._7__MULT18X18D_P18", "lanes"),
        ("dut.drain$12.lane_0.requantiser_1._3__MULT18X18D_P18", "drain"),
        ("dut.skipper_2.tokens._5__MULT18X18D_P18", "skippers"),
        ("dut.context_0.fetch.words.rows.0.1", "contexts"),
        ("dut.memory.bank_1.column_0.rows.0.0", "activations"),
        ("dut.reader.queue.storage.0.0", "rest"),
        ("shift_in", "rest"),
    ],
)
def test_cells_belong_to_parts(path, part):
    counts = count_parts({path: "MULT18X18D", f"{path}_other": "LUT4"})
    assert list(counts) == list(PARTS)
    assert counts[part] == {"mult18x18d": 1, "dp16kd": 0, "distributed_ram_lut4": 0}
    assert sum(sum(count.values()) for count in counts.values()) == 1


def test_distributed_memory_is_told_in_look_up_tables():
    counts = count_parts({"dut.memory.a": "TRELLIS_DPR16X4", "dut.memory.b": "TRELLIS_DPR16X4"})
    assert counts["activations"]["distributed_ram_lut4"] == 12


def test_cells_are_read_from_the_wrapped_design(tmp_path):
    path = tmp_path / "netlist.json"
    cells = {"dut.a": {"type": "LUT4"}, "dut.b": {"type": "TRELLIS_FF"}}
    modules = {"LUT4": {"cells": {}}, WRAPPER: {"cells": cells}}
    path.write_text(json.dumps({"modules": modules}))
    assert read_cells(path) == {"dut.a": "LUT4", "dut.b": "TRELLIS_FF"}
