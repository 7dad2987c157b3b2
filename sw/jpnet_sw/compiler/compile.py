"""Integer network to schedule: placement, capacity, lists, instructions, program image."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.image import HeaderWord, Memory, Section, build_image
from jpnet_spec.instruction import INSTRUCTION_WORDS, THRESHOLD_SLOTS, Instruction
from jpnet_spec.network import INPUT, IntegerNetwork, Layer
from jpnet_spec.schedule import LayerPlan, Schedule
from jpnet_sw.compiler.capacity import resident_lists
from jpnet_sw.compiler.errors import CompileError, check_depth
from jpnet_sw.compiler.graph import allocate_words, layer_graph
from jpnet_sw.compiler.instructions import LayerBases, LayerPlace, layer_instructions
from jpnet_sw.compiler.limits import (
    fully_connected_cycles,
    image_cycles_limit,
    load_cycles_limit,
    stream_cycles_limit,
    tile_cycles,
)
from jpnet_sw.compiler.list_places import resident_places
from jpnet_sw.compiler.sections import list_sections, param_sections
from jpnet_sw.compiler.streaming import streamed_lists
from jpnet_sw.compiler.tensors import Tensor, place_tensors
from jpnet_sw.compiler.tiles import check_supported, row_tiles

__all__ = ["compile_network"]


def compile_network(
    network: IntegerNetwork,
    config: AcceleratorConfig,
    calibration_images: NDArray[np.int8] | None = None,
    *,
    dense: bool = False,
    pruned: bool = False,
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
    pruned
        With `dense`: leave the products with a weight of zero out all the same.

    Raises
    ------
    CompileError
        If the network does not fit; the message says which memory, how much is needed and which
        preset would do.
    """
    for layer in network.layers:
        check_supported(layer)
    try:
        return _compile(network, config, calibration_images, dense=dense, pruned=pruned)
    except CompileError as error:
        fitting = _presets_that_fit(
            lambda other: _compile(network, other, calibration_images, dense=dense, pruned=pruned)
        )
        advice = f"it fits {', '.join(fitting)}" if fitting else "no preset is large enough"
        raise CompileError(f"{network.name}: {error}; {advice}") from error


def _presets_that_fit(compiles: Callable[[AcceleratorConfig], object]) -> list[str]:
    fitting = []
    for name, config in PRESETS.items():
        try:
            compiles(config)
        except CompileError:
            continue
        fitting.append(name)
    return fitting


def _compile(
    network: IntegerNetwork,
    config: AcceleratorConfig,
    images: NDArray[np.int8] | None,
    *,
    dense: bool,
    pruned: bool,
) -> Schedule:
    tensors = place_tensors(network, config, images)
    for layer in network.layers:
        _check_layer(layer, config)
    places = _place_layers(network, tensors, config, dense=dense and not pruned)
    image_readers = [layer.name for layer in network.layers if INPUT in layer.inputs]
    instructions = [
        layer_instructions(
            place,
            config,
            dense=dense,
            frees_image=place.layer.name == image_readers[-1],
            is_result=place is places[-1],
        )
        for place in places
    ]
    program_instructions = [item for of_layer in instructions for item in of_layer]
    check_depth("program memory (program_depth)", len(program_instructions), config.program_depth)
    image, result = tensors[INPUT], places[-1]
    blocks = _block_sections(places)
    program = build_image(
        config,
        _instruction_sections(program_instructions) + _memory_sections(places, config),
        instructions=len(program_instructions),
        input_base=places[0].bases.source,
        input_rows=image.layout.rows,
        result_base=result.bases.target,
        result_rows=result.target.layout.rows,
        blocks=blocks,
    )
    return Schedule(
        config=config,
        network_name=network.name,
        network_hash=network.content_hash,
        dense=dense,
        program=program,
        layers=tuple(
            LayerPlan(
                name=place.layer.name,
                instructions=len(of_layer),
                rows=place.target.layout.rows,
                positions=place.target.places,
                divided=place.lists.divided,
                weights=place.lists.entries,
            )
            for place, of_layer in zip(places, instructions, strict=True)
        ),
        input_rows=image.layout.rows,
        input_positions=image.places,
        cycles_limit_load=load_cycles_limit(program, config),
        cycles_limit_image=_image_limit(places, instructions, program, config),
    )


def _image_limit(
    places: list[LayerPlace],
    instructions: list[list[Instruction]],
    program: NDArray[np.uint32],
    config: AcceleratorConfig,
) -> int:
    """Return a bound on the cycles of one image, with all blocks of the stream."""
    image_rows = next(place.source.layout.rows for place in places)
    bus_rows = image_rows + places[-1].target.layout.rows + 2 * config.beat_rows
    limit = image_cycles_limit(
        sum(map(_cycles, places, [config] * len(places), instructions)),
        sum(map(len, instructions)),
        bus_rows * config.lanes,
        config,
    )
    words = len(program) - int(program[HeaderWord.TOTAL_WORDS])
    return limit + stream_cycles_limit(words, int(program[HeaderWord.BLOCKS]), config)


def _check_layer(layer: Layer, config: AcceleratorConfig) -> None:
    """Refuse a layer whose sums the accumulators cannot hold."""
    limit = 2 ** (config.acc_width - 1) - 1
    if layer.largest_sum > limit:
        raise CompileError(
            f"layer {layer.name!r}: sums can reach {layer.largest_sum}, "
            f"acc_width {config.acc_width} holds {limit}"
        )


def _place_layers(
    network: IntegerNetwork,
    tensors: dict[str, Tensor],
    config: AcceleratorConfig,
    *,
    dense: bool,
) -> list[LayerPlace]:
    """Give every layer its share of every memory."""
    check_depth("threshold slots", len(network.layers), THRESHOLD_SLOTS)
    resident = resident_lists(network, tensors, config, dense=dense)
    lists, list_places = (
        (resident, resident_places(resident))
        if resident is not None
        else streamed_lists(network, tensors, config, dense=dense)
    )
    words = _allocate(network, tensors, config)
    slots = {INPUT: 0, network.layers[-1].name: 0}
    slots |= {layer.name: index + 1 for index, layer in enumerate(network.layers[:-1])}
    param = 0
    places = []
    for layer, of_layer, lies in zip(network.layers, lists, list_places, strict=True):
        source = layer.inputs[0]
        places.append(
            LayerPlace(
                layer=layer,
                source=tensors[source],
                target=tensors[layer.name],
                slots=(slots[source], slots[layer.name]),
                lists=of_layer,
                bases=LayerBases(
                    source=words[source],
                    target=words[layer.name],
                    lists=lies,
                    params=param,
                ),
            )
        )
        param += tensors[layer.name].layout.channel_rows
    check_depth("channel parameter memory (param_depth)", param, config.param_depth)
    return places


def _allocate(
    network: IntegerNetwork, tensors: dict[str, Tensor], config: AcceleratorConfig
) -> dict[str, int]:
    """Return the first word of every tensor in the activation memory."""
    bank_words = {name: tensor.layout.bank_words for name, tensor in tensors.items()}
    whole_beats = -(-tensors[INPUT].layout.rows // config.beat_rows) * config.beat_rows
    bank_words[INPUT] = config.bank_words(whole_beats)
    words = allocate_words(layer_graph(network), bank_words, network.layers[-1].name)
    check_depth(
        "activation memory (act_depth)",
        max(words[name] + bank_words[name] for name in words),
        config.act_depth,
    )
    return words


def _instruction_sections(instructions: list[Instruction]) -> list[Section]:
    return [
        Section(
            memory=Memory.INSTRUCTION,
            address=index * INSTRUCTION_WORDS,
            words=np.array(instruction.encode(), dtype=np.uint32),
        )
        for index, instruction in enumerate(instructions)
    ]


def _memory_sections(places: list[LayerPlace], config: AcceleratorConfig) -> list[Section]:
    """Return resident weights and list tables, and channel parameters, of all layers."""
    sections: list[Section] = []
    for place in places:
        for part, lies in zip(place.lists.parts, place.bases.lists, strict=True):
            sections += list_sections(part, lies) if lies.block is None else ()
        sections += param_sections(place.layer, place.target, config, param_base=place.bases.params)
    return sections


def _block_sections(places: list[LayerPlace]) -> list[list[Section]]:
    """Return the streamed weights and list tables, block by block."""
    blocks: list[list[Section]] = []
    for place in places:
        for part, lies in zip(place.lists.parts, place.bases.lists, strict=True):
            if lies.block is not None:
                blocks += [[]] * (lies.block == len(blocks))
                blocks[-1] = [*blocks[-1], *list_sections(part, lies)]
    return blocks


def _cycles(place: LayerPlace, config: AcceleratorConfig, instructions: list[Instruction]) -> int:
    """Return a bound on the cycles of a layer's instructions, bar what each of them costs."""
    convolution = place.layer.convolution
    if convolution is None:
        rows = place.source.layout.rows
        return sum(fully_connected_cycles(rows, part) for part in place.lists.parts)
    tiled = [
        part
        for part in place.lists.parts
        for _ in row_tiles(place.layer, convolution, part.part, config)
    ]
    return sum(
        tile_cycles(item, part, config) for item, part in zip(instructions, tiled, strict=True)
    )
