from dataclasses import replace

import numpy as np
import pytest

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.convolution import Convolution
from jpnet_spec.image import HEADER_WORDS, HeaderWord, Memory
from jpnet_spec.instruction import FIELDS, INSTRUCTION_WORDS, LayerFlag
from jpnet_spec.network import INPUT, IntegerNetwork, Layer, LayerOp
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_spec.window import Window
from jpnet_sw.compiler import CompileError, compile_network
from jpnet_sw.compiler.dealing import dealt_loads
from jpnet_sw.compiler.placement import place_balanced
from jpnet_sw.compiler.tiles import channel_parts, row_tiles
from jpnet_sw.compiler.work import kernel_row_work

POOL = Window(size=(2, 2), stride=2)
EDGE = replace(PRESETS["edge16"], act_depth=512)


def layer(name, source, shape, oc, window=None, *, seed=1, density=0.1, pool=None):
    """Return a convolution, or without a window a fully connected layer."""
    rng = np.random.default_rng(seed)
    kernel = (oc, int(np.prod(shape))) if window is None else (oc, shape[0], *window.size)
    uneven = density * np.linspace(0.2, 1.8, oc).reshape(-1, *[1] * (len(kernel) - 1))
    weight = rng.integers(-127, 128, kernel) * (rng.random(kernel) < uneven)
    return Layer(
        name=name,
        op=LayerOp.FULLY_CONNECTED if window is None else LayerOp.CONVOLUTION,
        inputs=(source,),
        weight=weight.astype(np.int8),
        bias=np.zeros(oc, dtype=np.int32),
        multiplier=np.full(oc, 2**15, dtype=np.uint16),
        negative_multiplier=np.zeros(oc, dtype=np.uint16),
        shift=22,
        top_n=TopN(mode=ThresholdMode.EXACT, winners=oc if window is None else 10 * oc),
        convolution=None if window is None else Convolution(input_shape=shape, window=window),
        pool=pool,
    )


def lenet4():
    kernel = Window(size=(5, 5))
    conv1 = layer("conv1", INPUT, (1, 28, 28), 20, kernel, pool=POOL)
    conv2 = layer("conv2", "conv1", (20, 12, 12), 50, kernel, pool=POOL, density=0.02)
    fc1 = layer("fc1", "conv2", (50, 4, 4), 500, density=0.005)
    fc2 = layer("fc2", "fc1", (500,), 10)
    return IntegerNetwork(name="lenet4", input_shape=(1, 28, 28), layers=(conv1, conv2, fc1, fc2))


def single(window, *, shape=(3, 12, 12), oc=6, pool=None):
    first = layer("conv1", INPUT, shape, oc, window, pool=pool)
    return IntegerNetwork(name="net", input_shape=shape, layers=(first,))


def instructions(schedule):
    """Read the fields of all instructions back."""
    words, place, program = schedule.program, HEADER_WORDS, {}
    for _ in range(words[HeaderWord.SECTIONS]):
        first, second = int(words[place]), int(words[place + 1])
        memory = Memory(first & 0x3)
        count = (second >> 16) * (4 if memory is Memory.PARAM else 2)
        if memory is Memory.INSTRUCTION:
            program[second & 0xFFFF] = words[place + 2 : place + 2 + count : 2]
        place += 2 + count
    return [
        {
            name: int(program[index * INSTRUCTION_WORDS][item.word]) >> item.bit & 2**item.width - 1
            for name, item in FIELDS.items()
        }
        for index in range(len(program))
    ]


def test_lenet4_fits_edge16():
    schedule = compile_network(lenet4(), PRESETS["edge16"])
    assert [plan.instructions for plan in schedule.layers] == [2, 1, 1, 1]
    assert schedule.in_flight == 4


@pytest.mark.parametrize(("act_depth", "in_flight"), [(128, 2), (32, 1)])
def test_as_many_images_are_in_flight_as_the_activations_fit(act_depth, in_flight):
    schedule = compile_network(lenet4(), replace(EDGE, act_depth=act_depth))
    assert schedule.in_flight == in_flight
    with pytest.raises(CompileError, match=r"layer 'conv1': activation memory \(act_depth\) of "):
        compile_network(lenet4(), replace(EDGE, act_depth=act_depth), in_flight=2 * in_flight)


def test_flags_mark_the_tiles_of_a_layer_and_the_end_of_the_image():
    found = [LayerFlag(item["flags"]) for item in instructions(compile_network(lenet4(), EDGE))]
    first, last, is_map = LayerFlag.FIRST_TILE, LayerFlag.LAST_TILE, LayerFlag.MAP
    assert found == [
        first | is_map,
        last | is_map | LayerFlag.FREE_IMAGE,
        first | last | is_map,
        first | last | is_map,
        first | last | LayerFlag.RESULT,
    ]


def test_tiles_of_rows_share_lists_and_parameters_and_continue_the_target():
    one, two = instructions(compile_network(lenet4(), EDGE))[:2]
    changed = {name for name in FIELDS if one[name] != two[name]}
    assert changed == {"flags", "first_block", "blocks", "target_base", "target_words"}
    assert two["first_block"] == one["blocks"] == 2
    assert two["target_base"] - one["target_base"] == 2 * one["target_row_words"]
    assert one["target_words"] == 2 * two["target_words"] == 2 * 12 * 3


def test_tiles_are_as_few_as_the_accumulators_allow():
    conv = lenet4().layers[0]
    for depth, blocks in ((256, [1, 1, 1]), (512, [2, 1]), (1024, [3])):
        config = replace(EDGE, acc_depth=depth)
        (part,) = channel_parts(conv, conv.convolution, config)
        assert [tile.blocks for tile in row_tiles(conv, conv.convolution, part, config)] == blocks


def test_channels_are_split_where_one_block_does_not_fit():
    conv = lenet4().layers[0]
    config = replace(EDGE, acc_depth=128, pointer_depth=4096)
    parts = channel_parts(conv, conv.convolution, config)
    assert [(part.first_row, part.rows) for part in parts] == [(0, 2), (2, 2), (4, 1)]
    network = replace(lenet4(), layers=(conv,))
    tiles = instructions(compile_network(network, replace(config, acc_depth=64)))
    assert [item["first_block"] for item in tiles] == [0, 1, 2] * 5
    assert [item["param_base"] for item in tiles[::3]] == [0, 1, 2, 3, 4]
    assert [item["first_column"] for item in tiles[::3]] == [0, 1, 0, 1, 0]
    bases = [item["target_base"] - tiles[0]["target_base"] for item in tiles[::3]]
    assert bases == [0, 0, 1, 1, 2]


OVERLAPPING = Window(size=(3, 3), stride=2, padding=(0, 1, 0, 1))


def test_layers_with_overlapping_windows_are_split_by_channels_only():
    network = single(Window(size=(5, 5), padding=(2, 2, 2, 2)), pool=OVERLAPPING, oc=20)
    config = replace(EDGE, clusters=2, acc_depth=128, pointer_depth=4096)
    tiles = instructions(compile_network(network, config))
    assert [item["rows"] for item in tiles] == [1] * 5
    assert {(item["first_block"], item["blocks"]) for item in tiles} == {(0, 3)}
    assert {(item["stored_height"], item["stored_width"]) for item in tiles} == {(6, 6)}
    tiles = instructions(compile_network(network, replace(config, acc_depth=256)))
    assert [item["rows"] for item in tiles] == [3, 2]


def test_overlapping_windows_that_the_accumulators_do_not_hold_are_refused():
    network = single(Window(size=(5, 5), padding=(2, 2, 2, 2)), pool=OVERLAPPING)
    message = (
        r"layer 'conv1': needs 72 accumulators a lane, for pooling windows that overlap, acc_depth "
        "is 64; it fits"
    )
    with pytest.raises(CompileError, match=message):
        compile_network(network, replace(EDGE, clusters=2, acc_depth=64, contexts=1))


def test_images_are_laid_out_as_maps(rng):
    schedule = compile_network(lenet4(), EDGE)
    image = rng.integers(-127, 128, (1, 1, 28, 28)).astype(np.int8)
    assert schedule.image_bytes == 4 * 7 * 4 * 8
    words = schedule.layout_images(image).reshape(7 * 4, 2, 4, 4)  # (words, columns, banks, lanes)
    banks = words.transpose(2, 0, 1, 3).reshape(4, 7, 32)
    assert np.array_equal(banks[..., :28].transpose(1, 0, 2).reshape(28, 28), image[0, 0])
    assert not banks[..., 28:].any()


def test_pixels_of_an_image_share_words_and_those_of_other_maps_do_not():
    found = instructions(compile_network(lenet4(), EDGE))
    assert [item["source_packing"] for item in found] == [3, 3, 0, 0, 0]
    assert [item["source_row_words"] for item in found] == [4, 4, 36, 28, 0]
    narrow = single(Window(size=(3, 3)), shape=(3, 9, 5))
    (item,) = instructions(compile_network(narrow, EDGE))
    assert [item[f"source_{name}"] for name in ("packing", "tail", "row_words")] == [1, 3, 3]


@pytest.mark.parametrize(
    ("kernel", "stride", "left", "width", "read"),
    [(5, 1, 0, 14, 14), (3, 4, 0, 14, 12), (2, 2, 0, 9, 8), (3, 2, 1, 14, 14), (4, 4, 3, 15, 13)],
)
def test_columns_that_no_output_sees_are_not_read(kernel, stride, left, width, read):
    window = Window(size=(1, kernel), stride=stride, padding=(0, 0, left, 0))
    (item,) = instructions(compile_network(single(window, shape=(1, 40, width)), EDGE))
    assert item["source_width"] == read


def test_dealing_balances_the_products_of_the_calibration_images():
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 128, (50, 1, 28, 28)) * (rng.random((50, 1, 28, 28)) < 0.2)).astype(
        np.int8
    )
    network = lenet4()
    schedule = compile_network(network, EDGE, images)
    second, plan = network.layers[1], schedule.layers[1]
    survivors = network.run(images)["conv1"].survivors
    shares = np.zeros(4)
    for channel in range(50):
        lane = plan.positions.reshape(50, -1)[channel, 0] % 4
        kernel = np.where(np.arange(50)[:, None, None, None] == channel, second.weight, np.int8(0))
        shares[lane] += replace(second, weight=kernel).pairs(survivors).sum()
    assert shares.max() / shares.mean() < 1.05


def kernel_rows_layer(width, counts):
    """Return a convolution of 3x1 kernels; of each channel, the kernel row and its weights."""
    weight = np.zeros((len(counts), 10, 3, 1), dtype=np.int8)
    for channel, (row, weights) in enumerate(counts):
        weight[channel, :weights, row] = 1
    window = Window(size=(3, 1), padding=(1, 1, 0, 0))
    return replace(layer("conv1", INPUT, (10, 4, width), len(counts), window), weight=weight)


def test_work_is_counted_for_each_row_of_the_kernel():
    convolution = kernel_rows_layer(5, [(0, 10), (1, 7)])
    activity = np.ones((1, 10 * 4 * 5))
    config = replace(EDGE, clusters=2)
    work = kernel_row_work(convolution, convolution.convolution, config, input_activity=activity)
    # The topmost of four rows of outputs, the first cluster's, meets no row of the map.
    assert work.tolist() == [[[50, 100], [0, 0], [0, 0]], [[0, 0], [70, 70], [0, 0]]]


@pytest.mark.parametrize(
    ("width", "together"),
    [pytest.param(3, {0, 1}, id="short rows"), pytest.param(400, {0, 3}, id="long rows")],
)
def test_lanes_share_each_row_of_the_kernel_where_rows_are_long(width, together):
    """The sums would be even with channels 0 and 1 in one lane, but not the kernel's rows."""
    convolution = kernel_rows_layer(width, [(0, 10), (0, 6), (2, 9), (2, 7)])
    config = replace(EDGE, lanes=2, clusters=1, fifo_depth=64)
    loads = dealt_loads(
        convolution,
        convolution.convolution,
        config,
        input_activity=np.ones((1, 10 * 4 * width)),
    )
    lanes = place_balanced(loads, config) % 2
    assert set(np.flatnonzero(lanes == lanes[0])) == together


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            single(Window(size=(3, 3), stride=3)),
            "layer 'conv1': a stride of 3 is not supported, those of 1, 2, 4 are",
        ),
        (
            single(Window(size=(3, 3)), pool=Window(size=(3, 3), stride=3)),
            "layer 'conv1': max pooling of 3x3 with stride 3 .* is not supported, 2x2 and 3x3 with",
        ),
        (
            single(Window(size=(3, 3)), pool=Window(size=(3, 2), stride=2)),
            "layer 'conv1': max pooling of 3x2 with stride 2 .* is not supported, 2x2 and 3x3 with",
        ),
        (
            single(Window(size=(3, 3)), pool=replace(POOL, padding=(1, 0, 0, 0))),
            r"2x2 with stride 2 and padding \(1, 0, 0, 0\) is not supported, .* at top and left",
        ),
    ],
)
def test_what_is_not_supported_is_refused_with_what_is(network, message):
    with pytest.raises(CompileError, match=message):
        compile_network(network, EDGE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acc_depth": 4}, "layer 'conv1': needs 20 accumulators a lane, acc_depth is 16"),
        (
            {"pointer_depth": 16},
            "list table needs 28 entries a lane for .* one channel row, a slot .* has 8",
        ),
        ({"param_depth": 4}, r"channel parameter memory \(param_depth\) needs a depth of 5"),
        ({"acc_depth": 8, "program_depth": 2}, r"program memory \(program_depth\) needs"),
        ({"act_depth": 4}, r"activation memory \(act_depth\) of one image needs a depth of"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_memory_and_a_preset(change, message):
    network = single(Window(size=(3, 3)), pool=POOL, oc=20)
    with pytest.raises(CompileError, match=message + ".*; it fits tiny, edge16, edge64"):
        compile_network(network, replace(EDGE, **change))


def test_map_that_an_instruction_cannot_tell_is_refused():
    config = AcceleratorConfig(act_depth=16384, acc_depth=4096, param_depth=65536)
    with pytest.raises(CompileError, match=r"'conv1': Instruction.source_height must be .* 4095"):
        compile_network(single(Window(size=(1, 1)), shape=(1, 5000, 1)), config)
