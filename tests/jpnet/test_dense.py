from dataclasses import replace

import numpy as np
import pytest

from jpnet.dense import compile_dense, compile_weight_only, dense_config, without_filters
from jpnet_cosim.map_samples import random_convolutional_network
from jpnet_cosim.program_model import ProgramModel
from jpnet_cosim.samples import SMALL
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler import compile_network


def test_configuration_grows_only_its_weight_memories(small_network: IntegerNetwork) -> None:
    small = replace(SMALL, weight_depth=16, pointer_depth=16)
    grown = dense_config(small_network, small)
    assert grown.weight_depth > small.weight_depth
    changed = {name for name, value in small.as_dict().items() if grown.as_dict()[name] != value}
    assert changed == {"weight_depth", "pointer_depth"}
    assert compile_dense(without_filters(small_network), small).config == grown


def test_configuration_that_is_large_enough_stays(small_network: IntegerNetwork) -> None:
    assert dense_config(small_network, SMALL) == SMALL


def test_network_that_no_memory_holds_is_refused(small_network: IntegerNetwork) -> None:
    layer = small_network.layers[0]
    weight = np.ones((16, 2**18), dtype=np.int8)
    huge = replace(small_network, input_shape=(2**18,), layers=(replace(layer, weight=weight),))
    with pytest.raises(ValueError, match=r"AcceleratorConfig\.weight_depth"):
        dense_config(huge, SMALL)


def test_without_filters_every_activation_survives(small_network: IntegerNetwork) -> None:
    assert small_network.layers[0].top_n.mode is ThresholdMode.EXACT
    images = np.random.default_rng(1).integers(-127, 128, (5, 64)).astype(np.int8)
    trace = without_filters(small_network).run(images)[small_network.layers[0].name]
    assert np.array_equal(trace.survivors, trace.tensor)


@pytest.mark.parametrize("seed", range(8))
def test_configuration_holds_every_weight_of_a_convolutional_network(seed: int) -> None:
    network = without_filters(random_convolutional_network(np.random.default_rng(seed)))
    small = replace(SMALL, weight_depth=16, pointer_depth=16, acc_depth=128)
    roomy = replace(small, act_depth=1024, acc_width=32, program_depth=256)
    schedule = compile_dense(network, roomy)
    assert schedule.dense
    assert schedule.config == dense_config(network, schedule.config)


def test_weight_only_schedule_stores_the_pruned_lists_and_issues_every_activation(
    small_network: IntegerNetwork,
) -> None:
    unfiltered = without_filters(small_network)
    roomy = replace(SMALL, weight_depth=2048)
    weight_only, sparse = (
        compile_weight_only(unfiltered, roomy),
        compile_network(unfiltered, roomy),
    )
    assert weight_only.dense
    assert [plan.weights for plan in weight_only.layers] == [plan.weights for plan in sparse.layers]
    outputs = ProgramModel(weight_only.program, roomy).run(
        weight_only.layout_images(np.zeros((1, 64), dtype=np.int8))
    )
    issued = sum(int(output.macs.sum()) for output in outputs)
    assert issued == sum(layer.macs_weight_only for layer in small_network.layers)
