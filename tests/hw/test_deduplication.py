from amaranth.back import rtlil

from jpnet_hw.cluster import Cluster
from jpnet_hw.deduplication import merge_identical_modules
from jpnet_spec.config import AcceleratorConfig

CONFIG = AcceleratorConfig(
    lanes=2, groups=2, act_word=8, weight_depth=16, pointer_depth=16, acc_depth=4, act_depth=4
)


def modules(text):
    return [line.split()[1] for line in text.splitlines() if line.startswith("module ")]


def test_one_lane_is_left_of_four():
    text = rtlil.convert(Cluster(CONFIG), emit_src=False)
    merged = merge_identical_modules(text)
    lanes = [name for name in modules(merged) if name.rpartition(".")[2].startswith("lane_")]
    assert len([n for n in modules(text) if n.rpartition(".")[2].startswith("lane_")]) == 4
    assert len(lanes) == 1
    assert merged.count(f"  cell {lanes[0]} ") == 2


def test_different_modules_are_kept_apart():
    text = (
        "module \\a\n  wire \\x\nend\nmodule \\b\n  wire \\y\nend\n"
        "module \\top\n  cell \\a \\one\n  end\n  cell \\b \\two\n  end\nend\n"
    )
    assert merge_identical_modules(text) == text


def test_parents_that_become_equal_are_merged_too():
    text = (
        "module \\leaf1\n  wire \\x\nend\nmodule \\leaf2\n  wire \\x\nend\n"
        "module \\mid1\n  cell \\leaf1 \\l\n  end\nend\n"
        "module \\mid2\n  cell \\leaf2 \\l\n  end\nend\n"
        "module \\top\n  cell \\mid1 \\m1\n  end\n  cell \\mid2 \\m2\n  end\nend\n"
    )
    assert modules(merge_identical_modules(text)) == ["\\leaf1", "\\mid1", "\\top"]


def test_numbers_of_ports_make_no_difference():
    text = (
        "module \\a\n  wire width 2 input 0  \\port$7$0\nconnect \\x \\port$7$0 [0]\nend\n"
        "module \\b\n  wire width 2 input 0  \\port$9$0\nconnect \\x \\port$9$0 [0]\nend\n"
        "module \\top\n  wire width 2 input 0  \\port$5$0\n"
        "  cell \\a \\one\n    connect \\port$7$0 \\port$5$0 [1:0]\n  end\n"
        "  cell \\b \\two\n    connect \\port$9$0 \\y [1:0]\n  end\nend\n"
    )
    assert merge_identical_modules(text) == (
        "module \\a\n  wire width 2 input 0  \\port$0\nconnect \\x \\port$0 [0]\nend\n"
        "module \\top\n  wire width 2 input 0  \\port$0\n"
        "  cell \\a \\one\n    connect \\port$0 \\port$0 [1:0]\n  end\n"
        "  cell \\a \\two\n    connect \\port$0 \\y [1:0]\n  end\nend\n"
    )


def test_the_order_of_ports_makes_no_difference():
    text = (
        "module \\a\n  wire width 2 input 0  \\x\n  wire width 1 output 1  \\y\nend\n"
        "module \\b\n  wire width 1 output 0  \\y\n  wire width 2 input 1  \\x\nend\n"
        "module \\top\n  wire width 2 input 0  \\q\n  wire width 1 output 1  \\p\n"
        "  cell \\a \\one\n    connect \\x \\q\n    connect \\y \\p\n  end\n"
        "  cell \\b \\two\n    connect \\y \\r\n    connect \\x \\q\n  end\nend\n"
    )
    assert merge_identical_modules(text) == (
        "module \\a\n  wire width 2 input 0  \\x\n  wire width 1 output 1  \\y\nend\n"
        "module \\top\n  wire width 2 input 0  \\q\n  wire width 1 output 1  \\p\n"
        "  cell \\a \\one\n    connect \\x \\q\n    connect \\y \\p\n  end\n"
        "  cell \\a \\two\n    connect \\y \\r\n    connect \\x \\q\n  end\nend\n"
    )
