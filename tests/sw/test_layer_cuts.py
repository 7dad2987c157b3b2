from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from jpnet_cosim.map_samples import random_maps
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.samples import SMALL, random_network
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.convolution import Convolution
from jpnet_spec.instruction import LayerFlag
from jpnet_spec.network import INPUT, IntegerNetwork, Layer, LayerOp
from jpnet_spec.numbers import choose_multipliers
from jpnet_spec.topn import ThresholdMode
from jpnet_spec.window import Window
from jpnet_sw.compiler import CompileError, compile_network
from jpnet_sw.compiler.graph import layer_activity
from jpnet_sw.compiler.layer_cuts import layer_cuts
from jpnet_sw.compiler.steps import network_steps
from jpnet_sw.compiler.tensors import place_tensors
from jpnet_sw.compiler.tiles import Part

CONFIG = AcceleratorConfig(
    lanes=2, groups=1, clusters=2, weight_depth=512, pointer_depth=256, program_depth=256
)


def convolution(rng, name, source, shape, outputs, density=0.5):
    weight = rng.integers(-9, 10, (outputs, shape[0], 3, 3))
    weight = (weight * (rng.random(weight.shape) < density)).astype(np.int8)
    multiplier, shift = choose_multipliers([0.01] * outputs)
    window = Window(size=(3, 3), padding=(1, 1, 1, 1))
    return Layer(
        name=name,
        op=LayerOp.CONVOLUTION,
        inputs=(source,),
        weight=weight,
        bias=np.zeros(outputs, dtype=np.int32),
        multiplier=multiplier,
        negative_multiplier=0 * multiplier,
        shift=shift,
        convolution=Convolution(input_shape=shape, window=window),
    )


def network(rng, *, channels=40, outputs=12, size=6):
    layers = (
        convolution(rng, "wide", INPUT, (2, size, size), channels),
        convolution(rng, "deep", "wide", (channels, size, size), outputs),
    )
    return IntegerNetwork(name="cut", input_shape=(2, size, size), layers=layers)


def cuts_of(rng, config, **shape):
    net = network(rng, **shape)
    steps = network_steps(net)
    activity = layer_activity(net, random_maps(rng, 4, net.input_shape))
    tensors = place_tensors(net, steps, config, activity)
    cuts, parts = layer_cuts(steps[1], tensors, config, activity["wide"], dense=False)
    assert parts == cuts.cut(1)
    return cuts


@pytest.mark.parametrize("least", [1, 11, 24])
@pytest.mark.parametrize("acc_depth", [16, 64, 512])
def test_parts_cover_every_row_and_word_of_every_tile_once(rng, acc_depth, least):
    config = replace(CONFIG, acc_depth=acc_depth)
    cuts = cuts_of(rng, config)
    parts = cuts.cut(least)
    assert len(parts) >= least
    met = {}
    for part in parts:
        words = range(5)
        if part.span is not None:
            words = range(part.span.first_word, part.span.end_word)
        for row in range(part.first_row, part.first_row + part.rows):
            for word in words:
                met.setdefault((row, word), []).append(part.tile)
    assert set(met) == {(row, word) for row in range(6) for word in range(5)}
    for tiles in met.values():
        blocks = [tile for tile in tiles if tile is not None]
        assert len(blocks) == len(tiles) or tiles == [None]
        ends = [(tile.first_block, tile.first_block + tile.blocks) for tile in blocks]
        assert all(end == first for (_, end), (first, _) in pairwise(ends))


def test_parts_fit_a_slot_and_their_needs_are_those_of_their_lists(rng):
    cuts = cuts_of(rng, CONFIG)
    parts = cuts.cut(1)
    assert any(part.span is not None for part in parts)
    for part in parts:
        need = cuts.needs(part)
        assert need.weights <= CONFIG.weight_depth // 2
        assert need.table <= CONFIG.pointer_depth // 2
        # Weights of a convolution are sent once for all clusters, those of all lanes at once.
        assert need.units == need.weights + need.table


def test_spans_are_taken_before_the_source_is_read_twice(rng):
    # Lists of all 40 channels have 361 entries; those of 8 channels and all rows fit a slot.
    parts = cuts_of(rng, replace(CONFIG, pointer_depth=512)).cut(1)
    assert {part.first_row for part in parts} == {0}
    assert len(parts) > 1


def test_a_cut_costs_what_the_busiest_cluster_takes(rng):
    cuts = cuts_of(rng, CONFIG)
    fewer, more = cuts.cut(1), cuts.cut(30)
    assert cuts.cost(fewer) < cuts.cost(more)
    cycles, words, count = cuts.cost(fewer)
    assert count == len(fewer)
    assert cycles >= words / CONFIG.contexts
    assert cycles >= cuts.work.tokens.max(axis=0).mean()


def test_clusters_share_uneven_rows_among_the_images_in_flight(rng):
    # Five rows for two clusters, in many channels: products decide.
    config = replace(CONFIG, weight_depth=32768, pointer_depth=4096)
    whole = (Part(first_row=0, rows=6),)
    costs = []
    for contexts in (1, 2):
        cuts = cuts_of(np.random.default_rng(5), replace(config, contexts=contexts), size=5)
        costs.append(cuts.cost(whole)[0])
    work = cuts.work.products.sum(axis=1).max(axis=0)
    assert costs[0] == pytest.approx(work.max(axis=0).mean())
    assert costs[1] == pytest.approx(work.mean(axis=0).mean())
    assert costs[1] < 0.95 * costs[0]


def test_what_no_slot_holds_is_refused_with_memory_need_and_preset(rng):
    net = network(rng)
    # Eight channels and nine taps, and the end of the last list.
    with pytest.raises(
        CompileError,
        match=r"'deep': list table needs 73 entries a lane for the lists of one channel row and "
        r"8 inputs, a slot for streamed lists has 64; it fits tiny, edge16, edge64",
    ):
        compile_network(net, replace(CONFIG, pointer_depth=128))
    with pytest.raises(
        CompileError, match=r"'deep': weight memory needs \d+ entries a lane for the lists of one "
    ):
        compile_network(net, replace(CONFIG, weight_depth=32))


def test_only_the_last_span_of_a_tile_drains_and_counts(rng):
    schedule = compile_network(network(rng), replace(CONFIG, acc_depth=32))
    editor = ProgramEditor(schedule.program)
    first, count = (plan.instructions for plan in schedule.layers)
    mine = range(first, first + count)
    flags = [LayerFlag(editor.field(index, "flags")) for index in mine]
    gaps = [editor.field(index, "source_pixel_gap") for index in mine]
    drains = [item for item in flags if LayerFlag.KEEP_SUMS not in item]
    assert 0 < len(drains) < count
    assert LayerFlag.KEEP_SUMS not in flags[-1]
    assert LayerFlag.FIRST_TILE in drains[0]
    assert LayerFlag.LAST_TILE in drains[-1]
    for flag in (LayerFlag.FIRST_TILE, LayerFlag.LAST_TILE, LayerFlag.RESULT):
        assert sum(flag in item for item in flags) == 1
    assert all(gap > 0 for gap, item in zip(gaps, flags, strict=True) if item not in drains)


def test_the_first_layer_reads_an_image_that_is_on_its_way_at_once(rng):
    config = replace(SMALL, weight_depth=64, pointer_depth=128, program_depth=256, param_depth=256)
    modes = [ThresholdMode.NONE] * 2
    schedule = compile_network(random_network(rng, dims=(120, 120, 10), modes=modes), config)
    editor = ProgramEditor(schedule.program)
    whole = -(-120 // config.lanes)
    rows = [editor.field(index, "source_rows") for index in range(len(schedule.instruction_layers))]
    assert set(rows[: schedule.layers[0].instructions]) == {whole}
    assert min(rows[schedule.layers[0].instructions :]) < whole
