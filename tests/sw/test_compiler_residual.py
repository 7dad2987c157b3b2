"""Residual networks in the compiler: steps, places, memories, refusals."""

import re
from dataclasses import replace

import numpy as np
import pytest

from jpnet_cosim.residual_samples import ResidualShape, residual_network
from jpnet_spec.configs import PRESETS
from jpnet_spec.network import INPUT, IntegerNetwork, Layer
from jpnet_spec.shortcut import Shortcut, ShortcutKind
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.compiler import CompileError, compile_network
from jpnet_sw.compiler.activation_words import allocate_words, fewest_words
from jpnet_sw.compiler.graph import layer_graph
from jpnet_sw.compiler.steps import network_steps
from jpnet_sw.compiler.tensors import place_tensors
from jpnet_sw.compiler.threshold_slots import threshold_slots

EDGE = PRESETS["edge16"]


def network(blocks=2, *, pre_activation=True, size=16, stages=(8, 16)):
    shape = ResidualShape(size=size, stages=stages, blocks=blocks, pre_activation=pre_activation)
    return residual_network(np.random.default_rng(1), shape)


def changed(network: IntegerNetwork, name: str, **fields) -> IntegerNetwork:
    """Return the network with a layer changed."""
    layers = tuple(
        replace(layer, **fields) if layer.name == name else layer for layer in network.layers
    )
    return replace(network, layers=layers)


def test_an_affine_layer_is_part_of_its_sources_step():
    steps = network_steps(network(1, stages=(8,)))
    assert [step.outputs for step in steps] == [
        ("conv1",),
        ("layer1.0.conv1",),
        ("layer1.0.conv2", "layer1.0.active"),
        ("average",),
        ("linear",),
    ]
    assert [step.carried for step in steps] == [None, None, "conv1", None, None]
    assert [step.gathers for step in steps] == [False, False, False, True, False]


def test_tensors_that_a_drain_touches_have_the_same_places():
    schedule = compile_network(network(), EDGE)
    plans = {plan.name: plan for plan in schedule.layers}
    of_stage = ["conv1", "layer1.0.conv2", "layer1.0.active", "layer1.1.conv2", "layer1.1.active"]
    for name in of_stage[1:]:
        assert np.array_equal(plans[name].positions, plans["conv1"].positions)
    assert plans["layer1.1.active"].second_of == "layer1.1.conv2"
    assert not np.array_equal(plans["layer1.0.conv1"].positions, plans["conv1"].positions)


def test_sums_take_the_words_of_what_is_added_and_outputs_those_of_their_source():
    schedule = compile_network(network(stages=(8,)), EDGE)
    base = {plan.name: plan.base for plan in schedule.layers}
    assert base["layer1.0.conv2"] == base["layer1.1.conv2"] == base["conv1"]
    assert base["layer1.1.conv1"] == base["layer1.0.active"] == base["layer1.0.conv1"]


def test_a_carried_tensor_that_is_needed_later_stays():
    given = network(stages=(8,))
    steps = network_steps(given)
    words = {name: 4 for step in steps for name in step.outputs} | {"input": 4}
    single = [True] * len(steps)
    found = allocate_words(given, steps, words, single, 100).first
    assert found["layer1.0.conv2"] == found["conv1"]
    # The second block adds the tensor that the first one adds.
    layers = tuple(
        replace(layer, inputs=(layer.inputs[0], "conv1"))
        if layer.name == "layer1.1.conv2"
        else layer
        for layer in given.layers
    )
    other = replace(given, layers=layers)
    found = allocate_words(other, network_steps(other), words, single, 100).first
    assert found["layer1.0.conv2"] != found["conv1"] == found["layer1.1.conv2"]


@pytest.mark.parametrize("pre_activation", [True, False])
def test_no_placement_needs_less_than_the_fewest_words(rng, pre_activation):
    given = network(pre_activation=pre_activation)
    steps = network_steps(given)
    names = [INPUT, *(name for step in steps for name in step.outputs)]
    for _ in range(50):
        words = dict(zip(names, rng.integers(1, 20, len(names)).tolist(), strict=True))
        single = rng.integers(0, 2, len(steps)).astype(bool).tolist()
        fewest = fewest_words(given, steps, words)
        assert fewest <= allocate_words(given, steps, words, single, 10**6).need
    equal = dict.fromkeys(names, 4)
    # The sum and its affine function, and the one of them that was there before.
    assert fewest_words(given, steps, equal) == 8


def test_fewer_images_are_tried_without_placing_anything(monkeypatch):
    placed = []

    def place(network, steps, config, activity, **options):
        placed.append(config.contexts)
        return place_tensors(network, steps, config, activity, **options)

    monkeypatch.setattr("jpnet_sw.compiler.compile.place_tensors", place)
    compile_network(network(), replace(EDGE, act_depth=32))
    assert placed == [1]


def test_threshold_slots_are_used_again():
    shape = ResidualShape(size=8, stages=(4,), blocks=9, pre_activation=True)
    given = residual_network(np.random.default_rng(1), shape)
    slots = threshold_slots(layer_graph(given), network_steps(given))
    assert set(slots.values()) == {0, 1}
    assert slots["layer1.3.conv2"] == 0
    assert slots["layer1.3.active"] == 1


@pytest.mark.parametrize("pre_activation", [True, False])
def test_resnet32_fits_edge16_with_two_images(pre_activation):
    given = network(5, pre_activation=pre_activation, size=32, stages=(16, 32, 64))
    schedule = compile_network(given, EDGE)
    assert schedule.in_flight == 2
    assert schedule.stream_blocks > 0
    with pytest.raises(CompileError) as refusal:
        compile_network(given, EDGE, in_flight=4)
    # The cause has no advice, for which the network would be compiled for every preset.
    message = r"layer 'layer1.0.conv.': activation memory \(act_depth\) of each of 4"
    assert re.match(message, str(refusal.value.__cause__))


def second_affine(given: IntegerNetwork) -> IntegerNetwork:
    """Return the network with one affine layer of the same source more."""
    (layer,) = (layer for layer in given.layers if layer.name == "layer1.0.active")
    place = given.layers.index(layer)
    layers: list[Layer] = [*given.layers[: place + 1], replace(layer, name="other")]
    return replace(given, layers=(*layers, *given.layers[place + 1 :]))


def wide_average(given: IntegerNetwork) -> IntegerNetwork:
    """Return a network with a shortcut that averages 4x4 elements."""
    first = given.layers[0]
    (layer,) = (layer for layer in given.layers if layer.name == "layer1.0.conv2")
    assert layer.convolution is not None
    kind = ShortcutKind.AVERAGE
    last = replace(
        layer,
        inputs=("conv1", "conv1"),
        convolution=replace(layer.convolution, window=replace(layer.convolution.window, stride=4)),
        shortcut=Shortcut(input_shape=(8, 16, 16), multiplier=1, kind=kind, stride=4),
    )
    return replace(given, layers=(first, last))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda given: changed(
                given, "layer1.0.conv2", top_n=TopN(mode=ThresholdMode.EXACT, winners=5)
            ),
            "layer 'layer1.0.active': its source 'layer1.0.conv2' is filtered, only one of two",
        ),
        (second_affine, "layer 'other': its source 'layer1.0.active' is the affine layer of"),
        (
            wide_average,
            "layer 'layer1.0.conv2': a shortcut that averages 4x4 elements is not supported, 2x2",
        ),
    ],
)
def test_what_is_not_supported_is_refused_with_what_is(change, message):
    with pytest.raises(CompileError, match=message):
        compile_network(change(network()), EDGE)


def test_more_images_than_contexts_are_refused():
    with pytest.raises(ValueError, match=r"in_flight must be one of \[4, 2, 1\], not 3"):
        compile_network(network(), EDGE, in_flight=3)
