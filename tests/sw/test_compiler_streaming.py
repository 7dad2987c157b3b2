from dataclasses import replace

import numpy as np
import pytest

from jpnet_cosim.map_samples import random_convolutional_network
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.samples import SMALL, random_network
from jpnet_spec.image import Memory
from jpnet_spec.instruction import LayerFlag
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler import CompileError, compile_network
from jpnet_sw.compiler.cuts import balanced_cut

TIGHT = replace(SMALL, weight_depth=64, pointer_depth=128, program_depth=256)


def cut(weights, limit, **options):
    sizes = np.array([weights], dtype=np.int64)
    return balanced_cut(sizes, np.array([limit]), balanced=slice(0, 1), **options)


def test_pieces_are_few_and_similar():
    assert cut([1, 1, 1, 1, 1], 4) == [2, 5] or cut([1, 1, 1, 1, 1], 4) == [3, 5]
    assert cut([3, 3, 3], 9) == [3]
    assert cut([5, 1, 1, 1, 4], 8) == [2, 5]
    assert cut([9, 1], 8) is None
    assert cut([0, 0], 8) == [2]


def test_pieces_are_a_multiple_while_there_are_items():
    assert cut([2, 2, 2], 2, multiple=2) == [1, 2, 3]
    assert len(cut([2, 2, 2, 2], 3, multiple=2)) == 4
    assert cut([4, 1, 1], 9, multiple=2) == [1, 3]
    assert len(cut([1] * 7, 3, pieces=5)) == 5


@pytest.mark.parametrize("seed", range(20))
def test_pieces_fit_and_no_fewer_would(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 10, (3, 30))
    limits = np.array([20, 25, 30])
    ends = balanced_cut(sizes, limits, balanced=slice(0, 2))
    sums = np.array([part.sum(axis=1) for part in np.split(sizes, ends[:-1], axis=1)])
    assert (sums <= limits).all()
    assert ends[-1] == 30
    least = max(-(-sizes.sum(axis=1) // limits))
    assert least <= len(ends) <= 2 * least + 1


def flags(schedule):
    editor = ProgramEditor(schedule.program)
    count = sum(plan.instructions for plan in schedule.layers)
    return [LayerFlag(editor.field(index, "flags")) for index in range(count)]


def test_a_network_that_fits_stays_resident(rng):
    schedule = compile_network(random_network(rng), SMALL)
    assert schedule.stream_blocks == schedule.stream_bytes == 0
    assert not any(LayerFlag.NEXT_BLOCK in item for item in flags(schedule))
    assert all(plan.instructions == 1 for plan in schedule.layers)


def test_each_block_ends_once_and_the_result_ends_the_last(rng):
    schedule = compile_network(random_network(rng), TIGHT)
    ends = [LayerFlag.NEXT_BLOCK in item for item in flags(schedule)]
    assert sum(ends) == schedule.stream_blocks
    assert ends[-1]
    assert LayerFlag.RESULT in flags(schedule)[-1]


def test_every_layer_counts_its_threshold_over_its_tiles(rng):
    schedule = compile_network(random_network(rng), TIGHT)
    tiles = iter(flags(schedule))
    for plan in schedule.layers:
        of_layer = [next(tiles) for _ in range(plan.instructions)]
        of_layer = [item for item in of_layer if LayerFlag.KEEP_SUMS not in item]
        assert [LayerFlag.FIRST_TILE in item for item in of_layer].index(True) == 0
        assert sum(LayerFlag.FIRST_TILE in item for item in of_layer) == 1
        assert [LayerFlag.LAST_TILE in item for item in of_layer].index(True) == len(of_layer) - 1
    assert any(plan.instructions > 1 for plan in schedule.layers)


def test_blocks_are_of_similar_size(rng):
    network = random_network(rng, dims=(100, 100, 10), modes=[ThresholdMode.NONE] * 2)
    config = replace(TIGHT, weight_depth=256, acc_depth=64, param_depth=128)
    editor = ProgramEditor(compile_network(network, config).program)
    sizes = [block.end - block.offset for block in editor.blocks]
    assert len(sizes) >= 4
    assert max(sizes) < 1.35 * np.mean(sizes)


def test_lists_of_a_convolution_are_streamed_once_for_all_clusters():
    network = random_convolutional_network(np.random.default_rng(5))
    config = replace(
        SMALL, act_depth=1024, acc_depth=512, pointer_depth=2048, weight_depth=256, clusters=4
    )
    while not (schedule := compile_network(network, config)).stream_blocks:
        config = replace(config, weight_depth=config.weight_depth // 2)
    editor = ProgramEditor(schedule.program)
    sections = [section for block in editor.blocks for section in block.sections]
    assert any(section.cluster is None for section in sections)
    weights = [editor.values(section) for section in sections if section.memory is Memory.WEIGHT]
    stored = sum(np.count_nonzero(values & 0xFF) for values in weights)
    assert stored == sum(np.count_nonzero(layer.weight) for layer in network.layers)


def test_more_rows_than_accumulators_are_tiles_of_a_resident_program(rng):
    network = random_network(rng, dims=(40, 60, 7), modes=[ThresholdMode.EXACT] * 2)
    schedule = compile_network(network, replace(SMALL, acc_depth=8))
    assert schedule.stream_blocks == 0
    assert [plan.instructions for plan in schedule.layers] == [4, 1]


def test_layers_of_one_row_cannot_be_cut_into_an_even_number_of_blocks(rng):
    config = replace(SMALL, lanes=8, groups=1, clusters=1, weight_depth=16, pointer_depth=32)
    for layers, fits in ((2, True), (3, False), (4, True)):
        modes = [ThresholdMode.NONE] * layers
        network = random_network(rng, dims=[8] * (layers + 1), modes=modes)
        if fits:
            assert compile_network(network, config, dense=True).stream_blocks in (0, layers)
            continue
        with pytest.raises(CompileError, match="no layer's lists can be cut once more"):
            compile_network(network, config, dense=True)
