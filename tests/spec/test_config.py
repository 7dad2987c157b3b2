from dataclasses import replace

import pytest

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS, preset


def test_presets_have_the_documented_mac_units():
    assert {name: config.mac_units for name, config in PRESETS.items()} == {
        "tiny": 4,
        "edge16": 16,
        "edge64": 64,
    }


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(ValueError, match="must be one of tiny, edge16, edge64, not 'huge'"):
        preset("huge")


def test_hash_tells_every_parameter_apart():
    base = AcceleratorConfig()
    others = [
        replace(base, lanes=2),
        replace(base, fifo_depth=32),
        replace(base, acc_width=25),
        replace(base, axi_addr_width=40),
    ]
    assert len({base.config_hash, *(other.config_hash for other in others)}) == 5


@pytest.mark.parametrize("clusters", [1, 2, 4, 8, 64])
def test_contexts_that_are_used_turn_the_clusters_by_equal_steps(clusters):
    assert AcceleratorConfig(clusters=4, contexts=4).turns == (0, 2, 1, 3)
    for contexts in (1, 2, 4):
        turns = AcceleratorConfig(clusters=clusters, contexts=contexts).turns
        assert len(turns) == contexts
        for used in (1, 2, 4)[: contexts.bit_length()]:
            steps = [step * clusters // used for step in range(used)]
            assert sorted(turns[:used]) == steps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 0}, "AcceleratorConfig.lanes must be an integer from 1 to 64, not 0"),
        ({"lanes": 3}, "AcceleratorConfig.lanes must be a power of two, not 3"),
        ({"groups": True}, "AcceleratorConfig.groups must be an integer"),
        ({"act_word": 4}, "act_word must be at least the bytes of an AXI beat, 8"),
        ({"lanes": 16}, "axi_data_width must be at least 8 bits a lane, 128, not 64"),
        ({"acc_width": 99}, "AcceleratorConfig.acc_width must be an integer from 16 to 32"),
        ({"weight_depth": 131072}, "AcceleratorConfig.weight_depth must be an integer from 16"),
    ],
)
def test_impossible_parameters_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AcceleratorConfig(**change)
