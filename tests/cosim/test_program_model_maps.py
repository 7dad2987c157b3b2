"""Compiled convolutions, executed word by word, compute what the network computes."""

from dataclasses import replace

import numpy as np
import pytest

from jpnet_cosim.map_samples import (
    branching_network,
    random_convolutional_network,
    random_maps,
)
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.program_model import LayerOutput, ProgramModel
from jpnet_cosim.program_tokens import tokens
from jpnet_cosim.samples import SMALL
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.instruction import FIELDS
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.schedule import Schedule
from jpnet_spec.topn import TopN
from jpnet_sw.compiler import compile_network

LARGE = {
    "weight_depth": 16384,
    "pointer_depth": 16384,
    "acc_depth": 4096,
    "act_depth": 1024,
    "param_depth": 64,
    "program_depth": 256,
    "acc_width": 32,
}
WIDE = AcceleratorConfig(lanes=4, groups=2, clusters=4, act_word=16, axi_data_width=128, **LARGE)
CONFIGS = {
    "small": replace(SMALL, **LARGE),
    "tight": replace(SMALL, **LARGE | {"acc_depth": 32}),
    "wide": WIDE,
    "one-lane": replace(SMALL, lanes=1, groups=1, clusters=4, **LARGE | {"acc_depth": 64}),
    "one-cluster": replace(SMALL, lanes=4, clusters=1, contexts=1, **LARGE),
    "one-column": AcceleratorConfig(lanes=8, groups=1, clusters=2, **LARGE | {"acc_depth": 32}),
}


def execute(network: IntegerNetwork, schedule: Schedule, images: np.ndarray) -> list[LayerOutput]:
    """Run the program and compare every layer's tensor and threshold."""
    outputs = ProgramModel(schedule.program, schedule.config).run(schedule.layout_images(images))
    traces = network.run(images)
    assert len(outputs) == len(schedule.layers)
    for index, (plan, output) in enumerate(zip(schedule.layers, outputs, strict=True)):
        expected = traces[plan.name]
        found = schedule.logical(index, output.tensor)
        assert np.array_equal(found, expected.tensor.reshape(len(images), -1)), plan.name
        assert np.array_equal(output.threshold, expected.threshold), plan.name
    return outputs


@pytest.mark.parametrize("name", list(CONFIGS))
@pytest.mark.parametrize(
    "seed", [*range(20), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, 40))]
)
def test_random_networks_are_exact_and_issue_no_product_in_vain(seed: int, name: str) -> None:
    rng = np.random.default_rng([seed, *name.encode()])
    config = CONFIGS[name]
    network = random_convolutional_network(rng, overlapping=config.acc_depth > 32)
    images = random_maps(rng, 2, network.input_shape)
    calibration = random_maps(rng, 4, network.input_shape) if seed % 2 else None
    schedule = compile_network(network, config, calibration)
    outputs = execute(network, schedule, images)
    traces = network.run(images)
    for layer, output in zip(network.layers, outputs, strict=True):
        source = layer.inputs[0]
        survivors = images if source == "input" else traces[source].survivors
        assert np.array_equal(output.macs, layer.pairs(survivors)), layer.name


def tight_config(network: IntegerNetwork) -> tuple[AcceleratorConfig, int]:
    """Return a configuration whose groups cannot hold all weights, and how many those are."""
    roomy = replace(CONFIGS["small"], groups=4)
    needed = sum(plan.weights for plan in compile_network(network, roomy).layers) + 1
    return replace(roomy, weight_depth=max(16, 1 << (needed - 1).bit_length() - 1)), needed


@pytest.mark.parametrize("seed", range(12))
def test_small_weight_memories_divide_the_input_channels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_convolutional_network(rng)
    images = random_maps(rng, 2, network.input_shape)
    tight, needed = tight_config(network)
    roomy = replace(CONFIGS["small"], groups=4)
    schedule = compile_network(network, tight)
    assert any(plan.divided for plan in schedule.layers) == (needed > 16)
    outputs = execute(network, schedule, images)
    roomy_outputs = execute(network, compile_network(network, roomy), images)
    assert [o.macs.tolist() for o in outputs] == [o.macs.tolist() for o in roomy_outputs]


@pytest.mark.parametrize("seed", range(12))
def test_dense_programs_issue_every_product_that_has_an_output(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_convolutional_network(rng)
    layers = tuple(replace(layer, top_n=TopN()) for layer in network.layers)
    network = replace(network, layers=layers)
    images = random_maps(rng, 1, network.input_shape)
    schedule = compile_network(network, CONFIGS["wide"], dense=True)
    outputs = execute(network, schedule, images)
    for layer, output in zip(network.layers, outputs, strict=True):
        full = replace(layer, weight=np.ones_like(layer.weight))
        assert output.macs.item() == full.reach.sum()


@pytest.mark.parametrize("shape", [(1, 6, 9), (2, 5, 4), (3, 7, 3), (5, 3, 5), (9, 3, 2)])
@pytest.mark.parametrize("name", ["small", "wide", "one-lane", "divided"])
def test_images_are_read_as_maps_and_as_vectors(name: str, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng([5, *shape])
    network = branching_network(rng, shape)
    images = random_maps(rng, 2, shape)
    config, needed = tight_config(network) if name == "divided" else (CONFIGS[name], 0)
    schedule = compile_network(network, config)
    assert any(plan.divided for plan in schedule.layers) == (needed > 16)
    outputs = execute(network, schedule, images)
    for layer, output in zip(network.layers, outputs, strict=True):
        assert np.array_equal(output.macs, layer.pairs(images)), layer.name


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_dense_programs_issue_the_channels_and_pixels_of_an_image(channels: int) -> None:
    rng = np.random.default_rng(channels)
    config = replace(CONFIGS["wide"], lanes=2)
    network = branching_network(rng, (channels, 7, 11))
    schedule = compile_network(network, config, dense=True)
    editor = ProgramEditor(schedule.program)
    for index, layer in enumerate(network.layers):
        found = list(tokens({name: editor.field(index, name) for name in FIELDS}, config))
        read = len({(token.bank, token.word, token.slot) for token in found})
        assert read == len(found) == channels * 7 * 11 or layer.convolution is not None
        assert read <= channels * 7 * 11
