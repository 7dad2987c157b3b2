import itertools
import zlib
from dataclasses import replace

import numpy as np
import pytest

from jpnet_spec.artefact import ArtefactError
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.image import HEADER_WORDS, HeaderWord, Memory
from jpnet_spec.instruction import FIELDS, INSTRUCTION_WORDS, LayerFlag
from jpnet_spec.network import INPUT, IntegerNetwork, Layer
from jpnet_spec.schedule import load_schedule, save_schedule
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_sw.compiler import CompileError, compile_network
from jpnet_sw.compiler.activation_words import allocate_words
from jpnet_sw.compiler.steps import network_steps

CONFIGS = {
    **PRESETS,
    "divided": AcceleratorConfig(groups=4, clusters=1, weight_depth=512, pointer_depth=256),
    "single": AcceleratorConfig(
        lanes=1, groups=1, clusters=1, contexts=1, act_word=8, weight_depth=8192
    ),
    "wide": AcceleratorConfig(lanes=8, groups=1, clusters=2, act_depth=64),
}


def make_network(dims=(70, 60, 35, 10), density=0.3, seed=5):
    rng = np.random.default_rng(seed)
    layers, source = [], INPUT
    for index, (ic, oc) in enumerate(itertools.pairwise(dims)):
        weight = rng.integers(-127, 128, (oc, ic)) * (rng.random((oc, ic)) < density)
        last = index == len(dims) - 2
        exact = TopN(mode=ThresholdMode.EXACT, winners=max(1, oc // 4))
        layers.append(
            Layer(
                name=f"fc{index + 1}",
                inputs=(source,),
                weight=weight.astype(np.int8),
                bias=rng.integers(-900, 900, oc).astype(np.int32),
                multiplier=rng.integers(1, 2**16, oc).astype(np.uint16),
                negative_multiplier=np.zeros(oc, dtype=np.uint16),
                shift=24,
                top_n=TopN() if last else exact,
            )
        )
        source = f"fc{index + 1}"
    return IntegerNetwork(name="net", input_shape=(dims[0],), layers=tuple(layers))


def decode(schedule):
    """Read a program image back: memory contents by (memory, lane, cluster, group)."""
    words = schedule.program
    header, body = words[:HEADER_WORDS], words[HEADER_WORDS:]
    assert header[HeaderWord.TOTAL_WORDS] == len(words)
    assert header[HeaderWord.BLOCKS] == header[HeaderWord.BLOCK_WORDS] == 0
    memories = {}
    place = 0
    for _ in range(header[HeaderWord.SECTIONS]):
        first, second = int(body[place]), int(body[place + 1])
        memory, is_wide = Memory(first & 0x3), first >> 2 & 1
        step = 4 if memory is Memory.PARAM else 2
        count = (second >> 16) * step
        lane, cluster = first >> 8 & 0xFF, first >> 16 & 0xFF
        groups = [first >> 24 & 0x7F]
        if first >> 31:
            groups = list(range(schedule.config.groups))
        data = body[place + 2 : place + 2 + count].reshape(-1, step)
        if memory in (Memory.WEIGHT, Memory.POINTER):
            values = data.astype("<u4").view("<u4" if is_wide else "<u2")
            of_lanes = [values[:, [column]] for column in range(values.shape[1])]
        else:
            of_lanes = [data[:, : step - 1]]
        lanes = range(lane, min(lane + len(of_lanes), schedule.config.lanes))
        for group, (which, rows) in itertools.product(groups, zip(lanes, of_lanes, strict=False)):
            store = memories.setdefault((memory, which, cluster, group), {})
            store.update(enumerate(rows.tolist(), start=second & 0xFFFF))
        place += 2 + count
    assert body[place] == zlib.crc32(body[:place].astype("<u4").tobytes())
    return memories


def decoded_products(schedule, layer_index, positions_in, words):
    """Walk the lists as a lane does; return (input position, output position, weight)."""
    config = schedule.config
    memories = decode(schedule)
    program = memories[Memory.INSTRUCTION, 0, 0, 0]
    word = [program[layer_index * INSTRUCTION_WORDS + i][0] for i in range(INSTRUCTION_WORDS)]
    flags, base = (
        word[place.word] >> place.bit & (1 << place.width) - 1
        for place in (FIELDS["flags"], FIELDS["pointer_base"])
    )
    divided = bool(flags & LayerFlag.DIVIDED)
    found = []
    for position in positions_in:
        total, slot = divmod(int(position), config.lanes)
        cluster, local = total % config.clusters, total // config.clusters
        q = local * config.lanes + slot
        owner, entry = (q % config.groups, q // config.groups) if divided else (None, q)
        for group in range(config.groups) if owner is None else [owner]:
            for lane in range(config.lanes):
                table = memories[Memory.POINTER, lane, cluster, group]
                start, end = table[base + entry][0], table[base + entry + 1][0]
                for address in range(start, end):
                    row, code = divmod(
                        memories[Memory.WEIGHT, lane, cluster, group][address][0], 256
                    )
                    weight = code - 256 if code > 127 else code
                    found.append((int(position), group, row * config.lanes + lane, weight))
    assert words >= 0
    return found


@pytest.mark.parametrize("name", list(CONFIGS))
@pytest.mark.parametrize("dense", [False, True])
def test_lists_hold_every_weight_once_where_its_lane_looks(name, dense):
    config = CONFIGS[name]
    network = make_network()
    if dense:
        config = replace(config, weight_depth=8192)
    schedule = compile_network(network, config, dense=dense)
    positions = np.arange(70)
    for index, layer in enumerate(network.layers):
        plan = schedule.layers[index]
        found = decoded_products(schedule, index, positions, 0)
        copies = 1 if plan.divided else config.groups
        rebuilt = np.zeros_like(layer.weight, dtype=int)
        at_input = {int(p): c for c, p in enumerate(positions)}
        at_output = {int(p): c for c, p in enumerate(plan.positions)}
        for source, _, target, weight in found:
            rebuilt[at_output[target], at_input[source]] += weight
        assert np.array_equal(rebuilt, copies * layer.weight.astype(int))
        stored = layer.weight.size if dense else np.count_nonzero(layer.weight)
        assert len(found) == copies * stored
        positions = plan.positions


def test_small_weight_memories_divide_the_inputs():
    divided = compile_network(make_network(), CONFIGS["divided"])
    assert any(plan.divided for plan in divided.layers)
    assert not any(
        plan.divided for plan in compile_network(make_network(), CONFIGS["edge16"]).layers
    )


def test_result_keeps_the_channels_order_and_images_their_pixels(rng):
    schedule = compile_network(make_network(), CONFIGS["edge16"])
    assert schedule.layers[-1].positions.tolist() == list(range(10))
    images = rng.integers(-127, 128, (3, 70)).astype(np.int8)
    laid = schedule.layout_images(images)
    assert laid.shape == (3, 72)
    assert np.array_equal(laid[:, :70], images)
    assert not laid[:, 70:].any()
    with pytest.raises(ValueError, match="70 elements each, not int8 with 71"):
        schedule.layout_images(np.zeros((1, 71), dtype=np.int8))


def test_dealing_balances_the_expected_work():
    network = make_network((100, 64, 10), density=0.5)
    rng = np.random.default_rng(0)
    uneven = network.layers[0].weight * (rng.random((64, 1)) < np.linspace(0.1, 1, 64)[:, None])
    layer = replace(network.layers[0], weight=uneven.astype(np.int8))
    network = replace(network, layers=(layer, network.layers[1]))
    images = (rng.integers(0, 128, (50, 100)) * (rng.random((50, 100)) < 0.2)).astype(np.int8)
    schedule = compile_network(network, CONFIGS["edge16"], images)
    lane = schedule.layers[0].positions % 4
    work = ((layer.weight != 0) @ (images != 0).mean(axis=0)).astype(float)
    shares = np.bincount(lane, weights=work)
    assert shares.max() / shares.mean() < 1.02


def test_schedule_file_round_trips_and_refuses_damage(tmp_path):
    schedule = compile_network(make_network(), CONFIGS["tiny"])
    path = tmp_path / "schedule.safetensors"
    save_schedule(schedule, path)
    loaded = load_schedule(path)
    assert np.array_equal(loaded.program, schedule.program)
    assert loaded.config == schedule.config
    assert [plan.rows for plan in loaded.layers] == [plan.rows for plan in schedule.layers]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ArtefactError, match="altered"):
        load_schedule(path)


def test_compiling_twice_gives_identical_words():
    first, second = (compile_network(make_network(), CONFIGS["edge64"]) for _ in range(2))
    assert np.array_equal(first.program, second.program)


def test_another_configuration_is_refused_with_the_differences():
    schedule = compile_network(make_network(), CONFIGS["tiny"])
    with pytest.raises(ValueError, match="another configuration: lanes 2 not 4"):
        schedule.check_config(CONFIGS["edge16"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weight_depth": 16},
            "layer 'fc1': weight memory needs .* of one channel row, a slot .* has 8",
        ),
        (
            {"pointer_depth": 32, "weight_depth": 64},
            "layer 'fc1': list table needs 21 entries .* of one channel row, a slot .* has 16",
        ),
        ({"acc_width": 16}, "layer 'fc1': sums can reach .*, acc_width 16 holds 32767"),
        (
            {"act_depth": 4, "contexts": 1, "clusters": 1},
            r"layer 'fc.': activation memory \(act_depth\) of one image needs a depth of",
        ),
        ({"param_depth": 16}, r"channel parameter memory \(param_depth\) needs a depth of"),
        ({"program_depth": 2}, r"program memory \(program_depth\) needs a depth of 3"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_memory_and_a_preset(change, message):
    config = replace(CONFIGS["edge16"], **change)
    with pytest.raises(CompileError, match=message + ".*; it fits tiny, edge16, edge64"):
        compile_network(make_network(), config)


def test_presets_are_tried_when_the_refusal_is_read(monkeypatch):
    tried = []

    def presets_that_fit(compiles):
        tried.append(compiles)
        return ["edge16"]

    monkeypatch.setattr("jpnet_sw.compiler.compile._presets_that_fit", presets_that_fit)
    with pytest.raises(CompileError) as refusal:
        compile_network(make_network(), replace(CONFIGS["edge16"], weight_depth=16))
    assert not tried
    assert [str(refusal.value).rpartition("; ")[2] for _ in range(2)] == ["it fits edge16"] * 2
    assert len(tried) == 1


def test_tensors_reuse_dead_words_but_never_the_image():
    network = make_network((64, 64, 64, 64, 64, 16))
    words = dict.fromkeys([INPUT, *(layer.name for layer in network.layers)], 4)
    steps = network_steps(network)
    for single in (False, True):
        found = allocate_words(network, steps, words, [single] * len(steps), 12)
        places = dict(found.first)
        assert places.pop(INPUT) == found.release == 0
        assert all(place >= 4 for place in places.values())
        assert found.need == (8 if single else 12)


def test_the_next_image_waits_where_its_words_are_needed():
    network = make_network((64, 64, 64, 64, 64, 16))
    words = {INPUT: 4, "fc1": 8, "fc2": 4, "fc3": 4, "fc4": 2, "fc5": 1}
    steps = network_steps(network)
    found = allocate_words(network, steps, words, [True] * len(steps), 8)
    assert found.need == 8
    assert found.first["fc1"] == 0
    assert found.release == 1
    assert allocate_words(network, steps, words, [True] * len(steps), 12).release == 0
