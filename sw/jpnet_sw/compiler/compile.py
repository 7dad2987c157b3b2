"""Integer network to schedule: placement, capacity, lists, instructions, program image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.image import Memory, Section, build_image
from jpnet_spec.instruction import (
    INSTRUCTION_WORDS,
    THRESHOLD_SLOTS,
    Instruction,
    LayerFlag,
    Opcode,
)
from jpnet_spec.network import INPUT, IntegerNetwork, Layer
from jpnet_spec.schedule import LayerPlan, Schedule
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler.graph import allocate_words, layer_activity, layer_graph
from jpnet_sw.compiler.limits import image_cycles_limit, load_cycles_limit
from jpnet_sw.compiler.lists import LaneLists, lane_lists, local_inputs
from jpnet_sw.compiler.placement import place_balanced, place_in_order

__all__ = ["CompileError", "compile_network"]


class CompileError(ValueError):
    """A network that this accelerator cannot run; the message names layer, memory and need."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Placed:
    """A layer with its place in every memory but the lists."""

    layer: Layer
    positions: NDArray[np.int32]
    input_positions: NDArray[np.int32]
    input_rows: int
    rows: int


_ListsOf = dict[tuple[int, int | None, int], LaneLists]


def _place(
    network: IntegerNetwork, config: AcceleratorConfig, images: NDArray[np.int8] | None
) -> list[_Placed]:
    activity = layer_activity(network, images)
    positions = {INPUT: place_in_order(len(activity[INPUT]))}
    rows = {INPUT: -(-len(activity[INPUT]) // config.lanes)}
    placed = []
    for layer in network.layers:
        source = layer.inputs[0]
        last = layer is network.layers[-1]
        positions[layer.name] = (
            place_in_order(layer.elements)
            if last
            else place_balanced(
                layer,
                config,
                input_clusters=positions[source].astype(np.int64) // config.lanes % config.clusters,
                input_activity=activity[source],
                output_demand=_demand(network, layer, activity[layer.name], config),
            )
        )
        rows[layer.name] = -(-layer.elements // config.lanes)
        placed.append(
            _Placed(
                layer=layer,
                positions=positions[layer.name],
                input_positions=positions[source],
                input_rows=rows[source],
                rows=rows[layer.name],
            )
        )
    return placed


def _demand(
    network: IntegerNetwork,
    layer: Layer,
    activity: NDArray[np.float64],
    config: AcceleratorConfig,
) -> NDArray[np.float64]:
    """Return the cycles that each output will cost its reader: a token and its products."""
    readers = [other.weight for other in network.layers if layer.name in other.inputs]
    products = np.sum([np.count_nonzero(weight, axis=0) for weight in readers], axis=0)
    demand: NDArray[np.float64] = activity * (1 + products / config.lanes)
    return demand


def _check_layer(entry: _Placed, config: AcceleratorConfig) -> None:
    where = f"layer {entry.layer.name!r}"
    limit = 2 ** (config.acc_width - 1) - 1
    if entry.layer.largest_sum > limit:
        raise CompileError(
            f"{where}: sums can reach {entry.layer.largest_sum}, "
            f"acc_width {config.acc_width} holds {limit}"
        )
    if entry.rows > config.acc_depth:
        raise CompileError(
            f"{where}: needs {entry.rows} accumulators a lane, acc_depth is {config.acc_depth}"
        )


def _layer_lists(
    entry: _Placed, config: AcceleratorConfig, *, divided: bool, dense: bool
) -> _ListsOf:
    groups: list[int | None] = list(range(config.groups)) if divided else [None]
    lists = {}
    for cluster in range(config.clusters):
        for group in groups:
            inputs = local_inputs(
                entry.input_positions, entry.input_rows, config, cluster=cluster, group=group
            )
            for lane in range(config.lanes):
                lists[cluster, group, lane] = lane_lists(
                    entry.layer, inputs, entry.positions, config, lane=lane, dense=dense
                )
    longest = max(int(item.lengths.max(initial=0)) for item in lists.values())
    if longest > config.run_max:
        raise CompileError(
            f"layer {entry.layer.name!r}: a list of {longest} weights exceeds the "
            f"{config.run_max} of run_width {config.run_width}"
        )
    return lists


def _fullest(lists: _ListsOf) -> int:
    return max(len(item.entries) for item in lists.values())


def _table(lists: _ListsOf) -> int:
    return max(len(item.lengths) for item in lists.values())


def _choose_lists(
    placed: list[_Placed], config: AcceleratorConfig, *, dense: bool
) -> tuple[list[_ListsOf], list[bool]]:
    """Let every group hold all weights; divide the largest layers until the lists fit."""
    divided = [False] * len(placed)
    lists = [_layer_lists(entry, config, divided=False, dense=dense) for entry in placed]
    while True:
        entries, table = sum(map(_fullest, lists)), sum(map(_table, lists))
        if entries <= config.weight_depth and table <= config.pointer_depth:
            return lists, divided
        whole = [index for index, flag in enumerate(divided) if not flag]
        if config.groups == 1 or not whole:
            memory, need, have = (
                ("weight memory", entries, config.weight_depth)
                if entries > config.weight_depth
                else ("list table", table, config.pointer_depth)
            )
            largest = max(range(len(placed)), key=lambda index: _fullest(lists[index]))
            raise CompileError(
                f"layer {placed[largest].layer.name!r}: {memory} needs {need} entries a lane, "
                f"the configuration has {have}"
            )
        index = max(whole, key=lambda index: _fullest(lists[index]))
        divided[index] = True
        lists[index] = _layer_lists(placed[index], config, divided=True, dense=dense)


def _param_words(entry: _Placed, config: AcceleratorConfig, lane: int) -> NDArray[np.uint32]:
    """Return bias, multipliers and phase of every row of a drain lane; padding rows give 0."""
    words = np.zeros((entry.rows, 3), dtype=np.uint32)
    layer = entry.layer
    owned = np.flatnonzero(entry.positions % config.lanes == lane)
    row = entry.positions[owned] // config.lanes
    words[row, 0] = layer.bias[owned].view(np.uint32)
    words[row, 1] = layer.multiplier[owned].astype(np.uint32) | (
        layer.negative_multiplier[owned].astype(np.uint32) << 16
    )
    if layer.top_n.mode is ThresholdMode.SAMPLED:
        words[row, 2] = owned % layer.top_n.sample_stride
    return words.ravel()


def _instruction(
    entry: _Placed,
    config: AcceleratorConfig,
    *,
    flags: LayerFlag,
    slots: tuple[int, int],
    bases: tuple[int, int, int, int],
) -> Instruction:
    top_n = entry.layer.top_n
    counted = top_n.mode in (ThresholdMode.EXACT, ThresholdMode.SAMPLED)
    source_base, target_base, pointer_base, param_base = bases
    return Instruction(
        opcode=Opcode.FULLY_CONNECTED,
        flags=flags,
        source_slot=slots[0],
        target_slot=slots[1],
        threshold_mode=top_n.mode,
        source_base=source_base,
        source_rows=entry.input_rows,
        target_base=target_base,
        rows=entry.rows,
        pointer_base=pointer_base,
        param_base=param_base,
        winners=top_n.counted_winners(entry.layer.elements) if counted else 0,
        shift=entry.layer.shift,
        static_threshold=top_n.static_threshold,
        sample_stride=top_n.sample_stride,
    )


def _check_depth(memory: str, need: int, have: int) -> None:
    if need > have:
        raise CompileError(f"{memory} needs a depth of {need}, the configuration has {have}")


def _list_sections(
    lists: _ListsOf, config: AcceleratorConfig, weight_base: int, pointer_base: int
) -> list[Section]:
    sections = []
    for (cluster, group, lane), item in lists.items():
        starts = (item.starts + weight_base) // 2 % 2**config.start_width
        table = (item.lengths << config.start_width | starts).astype(np.uint32)
        for memory, address, words in (
            (Memory.WEIGHT, weight_base, item.entries),
            (Memory.POINTER, pointer_base, table),
        ):
            if len(words):
                sections.append(
                    Section(
                        memory=memory,
                        lane=lane,
                        cluster=cluster,
                        group=group,
                        address=address,
                        words=words,
                    )
                )
    return sections


def _presets_that_fit(compiles: Callable[[AcceleratorConfig], object]) -> list[str]:
    fitting = []
    for name, config in PRESETS.items():
        try:
            compiles(config)
        except CompileError:
            continue
        fitting.append(name)
    return fitting


def compile_network(
    network: IntegerNetwork,
    config: AcceleratorConfig,
    calibration_images: NDArray[np.int8] | None = None,
    *,
    dense: bool = False,
) -> Schedule:
    """Compile a network.

    Parameters
    ----------
    network
        The quantised network.
    config
        The accelerator.
    calibration_images : int8, shape (images, *input_shape)
        Training images from which the work of each channel is estimated; without them all inputs
        are taken to be equally frequent.
    dense
        Issue every product, zeros too, to compare with.

    Raises
    ------
    CompileError
        If the network does not fit; the message says which memory, how much is needed and which
        preset would do.
    """
    for layer in network.layers:
        if layer.convolution is not None:
            raise CompileError(f"layer {layer.name!r}: {layer.op.value} cannot be compiled yet")
    try:
        return _compile(network, config, calibration_images, dense=dense)
    except CompileError as error:
        fitting = _presets_that_fit(
            lambda other: _compile(network, other, calibration_images, dense=dense)
        )
        advice = f"it fits {', '.join(fitting)}" if fitting else "no preset is large enough"
        raise CompileError(f"{network.name}: {error}; {advice}") from error


def _compile(
    network: IntegerNetwork,
    config: AcceleratorConfig,
    images: NDArray[np.int8] | None,
    *,
    dense: bool,
) -> Schedule:
    placed = _place(network, config, images)
    for entry in placed:
        _check_layer(entry, config)
    _check_depth("program memory (program_depth)", len(placed), config.program_depth)
    _check_depth("threshold slots", len(placed), THRESHOLD_SLOTS)
    lists, divided = _choose_lists(placed, config, dense=dense)
    graph = layer_graph(network)
    rows = {INPUT: placed[0].input_rows} | {entry.layer.name: entry.rows for entry in placed}
    whole_beats = -(-rows[INPUT] // config.beat_rows) * config.beat_rows
    bank_words = {node: config.bank_words(count) for node, count in rows.items()}
    bank_words[INPUT] = config.bank_words(whole_beats)
    result = placed[-1].layer.name
    bases = allocate_words(graph, bank_words, result)
    _check_depth(
        "activation memory (act_depth)",
        max(bases[node] + bank_words[node] for node in bases),
        config.act_depth,
    )
    slots = {INPUT: 0} | {entry.layer.name: index + 1 for index, entry in enumerate(placed[:-1])}
    readers_of_input = [entry.layer.name for entry in placed if INPUT in entry.layer.inputs]
    sections: list[Section] = []
    weight_base = pointer_base = param_base = 0
    for index, entry in enumerate(placed):
        layer = entry.layer
        flags = LayerFlag(0)
        flags |= LayerFlag.DENSE if dense else LayerFlag(0)
        flags |= LayerFlag.DIVIDED if divided[index] else LayerFlag(0)
        flags |= LayerFlag.FREE_IMAGE if layer.name == readers_of_input[-1] else LayerFlag(0)
        flags |= LayerFlag.RESULT if layer.name == result else LayerFlag(0)
        instruction = _instruction(
            entry,
            config,
            flags=flags,
            slots=(slots[layer.inputs[0]], slots.get(layer.name, 0)),
            bases=(bases[layer.inputs[0]], bases[layer.name], pointer_base, param_base),
        )
        sections.append(
            Section(
                memory=Memory.INSTRUCTION,
                address=index * INSTRUCTION_WORDS,
                words=np.array(instruction.encode(), dtype=np.uint32),
            )
        )
        sections += _list_sections(lists[index], config, weight_base, pointer_base)
        for lane in range(config.lanes):
            words = _param_words(entry, config, lane)
            sections.append(
                Section(memory=Memory.PARAM, lane=lane, address=param_base, words=words)
            )
        weight_base += _fullest(lists[index])
        pointer_base += _table(lists[index])
        param_base += entry.rows
    _check_depth("channel parameter memory (param_depth)", param_base, config.param_depth)
    program = build_image(
        config,
        sections,
        instructions=len(placed),
        input_base=bases[INPUT],
        input_rows=rows[INPUT],
        result_base=bases[result],
        result_rows=rows[result],
    )
    plans = tuple(
        LayerPlan(
            name=entry.layer.name,
            rows=entry.rows,
            positions=entry.positions,
            divided=flag,
            weights=_fullest(item),
        )
        for entry, item, flag in zip(placed, lists, divided, strict=True)
    )
    return Schedule(
        config=config,
        network_name=network.name,
        network_hash=network.content_hash,
        dense=dense,
        program=program,
        layers=plans,
        input_elements=graph.nodes[INPUT]["elements"],
        cycles_limit_load=load_cycles_limit(program, config),
        cycles_limit_image=image_cycles_limit(
            [
                (entry.input_rows, entry.rows, [part.lengths for part in item.values()])
                for entry, item in zip(placed, lists, strict=True)
            ],
            (rows[INPUT] + rows[result] + 2 * config.beat_rows) * config.lanes,
            config,
        ),
    )
