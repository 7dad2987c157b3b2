"""Channels are dealt so that lanes that wait for each other have the same work."""

from dataclasses import replace

import numpy as np
import pytest

from jpnet_spec.configs import PRESETS
from jpnet_spec.convolution import Convolution
from jpnet_spec.network import INPUT, IntegerNetwork, Layer, LayerOp
from jpnet_spec.window import Window
from jpnet_sw.compiler.graph import layer_activity
from jpnet_sw.compiler.placement import place_balanced
from jpnet_sw.compiler.steps import network_steps
from jpnet_sw.compiler.tensors import place_tensors

CONFIG = replace(PRESETS["edge16"], lanes=4, act_word=8)
WINDOW = Window(size=(3, 3), padding=(1, 1, 1, 1))


def way(work, positions, ranges, lanes):
    """Return the work of the busiest lanes, ranges of rows one after the other."""
    rows, lane = np.divmod(positions, lanes)
    ends = np.cumsum(ranges)
    total = 0.0
    for end, count in zip(ends, ranges, strict=True):
        inside = (rows < end) & (rows >= end - count)
        loads = [work[inside & (lane == number)].sum(axis=0) for number in range(lanes)]
        total += np.max(loads, axis=0).sum()
    return total


@pytest.mark.parametrize(("channels", "ranges"), [(24, (3, 3)), (22, (2, 2, 2)), (5, (1, 1))])
def test_ranges_that_are_computed_apart_are_balanced_apart(rng, channels, ranges):
    ways = []
    for _ in range(20):
        work = rng.gamma(2.0, size=(channels, 6))
        placed = [place_balanced(work, CONFIG), place_balanced(work, CONFIG, ranges)]
        for positions in placed:
            assert len(set(positions)) == channels
            assert positions.max() < sum(ranges) * CONFIG.lanes
        ways.append([way(work, positions, ranges, CONFIG.lanes) for positions in placed])
    together, apart = np.array(ways).T
    assert (apart <= together + 1e-6).all()
    assert apart.sum() < together.sum()


def convolution(name, source, weight):
    oc, ic = weight.shape
    return Layer(
        name=name,
        op=LayerOp.CONVOLUTION,
        inputs=(source,),
        weight=np.tile(weight[:, :, None, None], (1, 1, 3, 3)).astype(np.int8),
        bias=np.zeros(oc, dtype=np.int32),
        multiplier=np.full(oc, 2**15, dtype=np.uint16),
        negative_multiplier=np.zeros(oc, dtype=np.uint16),
        shift=22,
        convolution=Convolution(input_shape=(ic, 8, 8), window=WINDOW),
    )


def network(second):
    layers = (
        convolution("conv1", INPUT, np.ones((16, 3))),
        convolution("conv2", "conv1", second),
        convolution("conv3", "conv2", np.ones((4, 8))),
    )
    return IntegerNetwork(name="words", input_shape=(3, 8, 8), layers=layers)


def tensors_of(net, config):
    return place_tensors(net, network_steps(net), config, layer_activity(net, None))


@pytest.mark.parametrize(("weight_depth", "mixed"), [(4096, False), (128, True)])
def test_lanes_share_each_word_where_words_are_read_apart(weight_depth, mixed):
    """All channels have the same work, every other one in the first word of the pixels."""
    config = replace(CONFIG, weight_depth=weight_depth)
    words = tensors_of(network(np.ones((8, 16))), config)["conv1"].positions // config.act_word
    wanted = np.arange(8) % 2
    positions = tensors_of(network(words[None] == wanted[:, None]), config)["conv2"].positions
    kinds = [set(wanted[positions % config.lanes == lane]) for lane in range(config.lanes)]
    assert all(len(kind) == 1 + mixed for kind in kinds)
