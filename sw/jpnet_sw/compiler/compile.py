"""Integer network to schedule: placement, capacity, lists, instructions, program image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import PRESETS
from jpnet_spec.image import Memory, Section, build_image
from jpnet_spec.instruction import INSTRUCTION_WORDS, Instruction
from jpnet_spec.network import INPUT, IntegerNetwork, Layer
from jpnet_spec.schedule import LayerPlan, Schedule
from jpnet_sw.compiler.activation_words import ActivationWords, allocate_words, fewest_words
from jpnet_sw.compiler.capacity import LayerLists, resident_lists
from jpnet_sw.compiler.errors import AdvisedError, CompileError, check_depth
from jpnet_sw.compiler.graph import layer_activity, layer_graph
from jpnet_sw.compiler.instructions import StepBases, StepPlace, step_instructions
from jpnet_sw.compiler.limits import load_cycles_limit, program_cycles_limit
from jpnet_sw.compiler.list_places import ListPlace, resident_places
from jpnet_sw.compiler.lists import TapTable
from jpnet_sw.compiler.packing import ListEncoding, pack_layers
from jpnet_sw.compiler.sections import list_sections, param_sections
from jpnet_sw.compiler.spans import ReadWords
from jpnet_sw.compiler.steps import Step, network_steps
from jpnet_sw.compiler.streaming import streamed_lists
from jpnet_sw.compiler.tensors import Tensor, place_tensors, tensor_layouts
from jpnet_sw.compiler.threshold_slots import threshold_slots
from jpnet_sw.compiler.tiles import check_supported, part_tiles

__all__ = ["compile_network"]

_BIAS_LIMIT = 2**30
"""Biases have 31 bits."""


def compile_network(
    network: IntegerNetwork,
    config: AcceleratorConfig,
    calibration_images: NDArray[np.int8] | None = None,
    *,
    dense: bool = False,
    in_flight: int | None = None,
    pruned: bool = False,
    encoding: ListEncoding = ListEncoding.EXPLICIT,
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
    in_flight
        Images in flight, 1, 2 or 4 and at most `contexts`; by default as many as the activation
        memory holds.
    pruned
        With `dense`: leave the products with a weight of zero out all the same.
    encoding
        How the program holds weight lists, as far as memories and their shape allow.

    Raises
    ------
    CompileError
        If the network does not fit; the message says which memory, how much is needed and which
        preset would do.
    ValueError
        If that many images cannot be in flight, or the accelerator has no decoder for the lists.
    """
    if encoding is not ListEncoding.EXPLICIT and not config.list_decoder:
        raise ValueError(
            f"encoding {encoding.value} needs a configuration with list_decoder 1, not 0"
        )
    counts = _counts(config)
    if in_flight is not None:
        if in_flight not in counts:
            raise ValueError(f"in_flight must be one of {counts}, not {in_flight!r}")
        counts = [in_flight]
    steps = network_steps(network)
    for step in steps:
        check_supported(step.layer)

    products = _Products(issued=dense, stored=dense and not pruned)

    def compiled(other: AcceleratorConfig, counts: list[int]) -> Schedule:
        compilers = [
            _Compiler(network, steps, other, count, products=products, encoding=encoding)
            for count in counts
        ]
        return _compile_first(compilers, images)

    images = calibration_images
    try:
        return compiled(config, counts)
    except CompileError as error:
        raise AdvisedError(
            f"{network.name}: {error}",
            lambda: _presets_that_fit(lambda other: compiled(other, _counts(other))),
        ) from error


def _counts(config: AcceleratorConfig) -> list[int]:
    """Return how many images may be in flight, most first."""
    return [config.contexts >> bit for bit in range(config.contexts.bit_length())]


def _compile_first(compilers: Sequence["_Compiler"], images: NDArray[np.int8] | None) -> Schedule:
    """Return the first schedule that fits, the last refusal where none does."""
    for compiler in compilers[:-1]:
        try:
            if compiler.may_fit():
                return compiler.run(images)
        except CompileError:
            continue
    return compilers[-1].run(images)


def _presets_that_fit(compiles: Callable[[AcceleratorConfig], object]) -> list[str]:
    fitting = []
    for name, config in PRESETS.items():
        try:
            compiles(config)
        except CompileError:
            continue
        fitting.append(name)
    return fitting


def _image_config(config: AcceleratorConfig, in_flight: int) -> AcceleratorConfig:
    """Return an accelerator whose contexts have what each image in flight has in this one."""
    share = config.contexts // in_flight
    return replace(
        config,
        contexts=in_flight,
        acc_depth=config.acc_depth * share,
        act_depth=config.act_depth * share,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Products:
    """Which products with a zero there are.

    Parameters
    ----------
    issued
        Those with an activation of zero.
    stored
        Those with a weight of zero.
    """

    issued: bool
    stored: bool


class _Compiler:
    """One network, one accelerator, one number of images in flight."""

    def __init__(
        self,
        network: IntegerNetwork,
        steps: list[Step],
        config: AcceleratorConfig,
        in_flight: int,
        *,
        products: _Products,
        encoding: ListEncoding,
    ) -> None:
        self._network = network
        self._steps = steps
        self._config = config
        self._share = _image_config(config, in_flight)
        self._products = products
        self._encoding = encoding

    def may_fit(self) -> bool:
        """Return whether the activation memory could hold the tensors, wherever they lie."""
        share = self._share
        layouts = tensor_layouts(self._network, self._steps, share)
        words = {name: layout.bank_words for name, layout in layouts.items()}
        return fewest_words(self._network, self._steps, words) <= share.act_depth

    def run(self, images: NDArray[np.int8] | None) -> Schedule:
        """Return the schedule."""
        network, config, share = self._network, self._config, self._share
        for layer in network.layers:
            _check_layer(layer, config)
        activity = layer_activity(network, images)
        in_order = self._encoding is ListEncoding.BLOCKS
        tensors = place_tensors(network, self._steps, share, activity, in_order=in_order)
        places, words = self._place_steps(tensors, activity)
        instructions = [
            step_instructions(
                place,
                share,
                dense=self._products.issued,
                frees_image=index == words.release,
                is_result=place is places[-1],
            )
            for index, place in enumerate(places)
        ]
        all_instructions = [item for of_step in instructions for _, item in of_step]
        check_depth("program memory (program_depth)", len(all_instructions), config.program_depth)
        image = tensors[INPUT]
        program = build_image(
            config,
            _instruction_sections(all_instructions) + self._memory_sections(places, tensors),
            instructions=len(all_instructions),
            input_base=words.first[INPUT],
            input_rows=image.layout.rows,
            result_base=places[-1].bases.target,
            result_rows=places[-1].target.layout.rows,
            in_flight=share.contexts,
            blocks=_block_sections(places),
        )
        return Schedule(
            config=config,
            network_name=network.name,
            network_hash=network.content_hash,
            dense=self._products.issued,
            program=program,
            layers=tuple(_plans(places, instructions, tensors)),
            input_rows=image.layout.rows,
            input_positions=image.places,
            cycles_limit_load=load_cycles_limit(program, config),
            cycles_limit_image=program_cycles_limit(
                places, instructions, program, image.layout.rows, share
            ),
        )

    def _place_steps(
        self, tensors: dict[str, Tensor], activity: dict[str, NDArray[np.float64]]
    ) -> tuple[list[StepPlace], ActivationWords]:
        """Give every step its share of every memory."""
        share, graph = self._share, layer_graph(self._network)
        resident = resident_lists(self._steps, tensors, share, dense=self._products.stored)
        lists, list_places = (
            (resident, resident_places(resident))
            if resident is not None
            else streamed_lists(self._steps, tensors, share, activity, dense=self._products.stored)
        )
        self._check_offsets(lists)
        lists, list_places = self._pack(lists, list_places, tensors)
        words = self._allocate(tensors, lists)
        slots = threshold_slots(graph, self._steps)
        param, places = 0, []
        for step, of_layer, lies in zip(self._steps, lists, list_places, strict=True):
            source, rows = step.layer.inputs[0], tensors[step.layer.name].layout.channel_rows
            shortcut = step.layer.inputs[1] if step.layer.shortcut is not None else None
            bases = StepBases(
                source=words.first[source],
                target=words.first[step.layer.name],
                lists=lies,
                params=param,
                shortcut=0 if shortcut is None else words.first[shortcut],
                second=0 if step.second is None else words.first[step.second.name],
                second_params=0 if step.second is None else param + rows,
            )
            places.append(
                StepPlace(
                    step=step,
                    source=tensors[source],
                    target=tensors[step.layer.name],
                    shortcut=None if shortcut is None else tensors[shortcut],
                    slots=(slots[source], slots[step.counted.name]),
                    lists=of_layer,
                    bases=bases,
                )
            )
            param += rows * len(step.outputs)
        check_depth("channel parameter memory (param_depth)", param, self._config.param_depth)
        return places, words

    def _pack(
        self,
        lists: list[LayerLists],
        places: list[tuple[ListPlace, ...]],
        tensors: dict[str, Tensor],
    ) -> tuple[list[LayerLists], list[tuple[ListPlace, ...]]]:
        """Pack lists as far as the lanes' memories hold what packing adds."""
        if self._encoding is ListEncoding.EXPLICIT:
            return lists, places
        columns = [
            1
            if step.layer.convolution is None
            else TapTable.of(
                step.walked, tensors[step.layer.inputs[0]].layout, divided=of_layer.divided
            ).columns
            for step, of_layer in zip(self._steps, lists, strict=True)
        ]
        return pack_layers(lists, columns, places, self._config, self._encoding)

    def _check_offsets(self, lists: list[LayerLists]) -> None:
        """Refuse lists whose rows an entry of the weight memory does not hold."""
        for step, of_layer in zip(self._steps, lists, strict=True):
            lanes = (lane for part in of_layer.parts for lane in part.lanes.values())
            need, have = max(lane.farthest for lane in lanes), self._config.acc_depth
            if need > have:
                raise CompileError(
                    f"layer {step.layer.name!r}: accumulators (acc_depth) need a depth of {need} "
                    f"for the rows of its lists, the configuration has {have}"
                )

    def _allocate(self, tensors: dict[str, Tensor], lists: list[LayerLists]) -> ActivationWords:
        """Return the words of every tensor in the activation memory."""
        share = self._share
        bank_words = {name: tensor.layout.bank_words for name, tensor in tensors.items()}
        whole_beats = -(-tensors[INPUT].layout.rows // share.beat_rows) * share.beat_rows
        bank_words[INPUT] = share.bank_words(whole_beats)
        single = [
            _drains(step, tensors, of_layer, share) == 1
            for step, of_layer in zip(self._steps, lists, strict=True)
        ]
        words = allocate_words(self._network, self._steps, bank_words, single, share.act_depth)
        check_depth(
            f"layer {words.fullest!r}: activation memory (act_depth) of {_images(share)}",
            words.need,
            share.act_depth,
        )
        return words

    def _memory_sections(
        self, places: list[StepPlace], tensors: dict[str, Tensor]
    ) -> list[Section]:
        """Return resident weights and list tables, and channel parameters, of all steps."""
        sections: list[Section] = []
        for place in places:
            for part, lies in zip(place.lists.parts, place.bases.lists, strict=True):
                sections += list_sections(part, lies) if lies.block is None else ()
            shares = [(place.layer, place.bases.params)]
            if place.step.second is not None:
                shares.append((place.step.second, place.bases.second_params))
            for layer, base in shares:
                sections += param_sections(
                    layer, tensors[layer.name], self._config, param_base=base
                )
        return sections


def _images(config: AcceleratorConfig) -> str:
    return "one image" if config.contexts == 1 else f"each of {config.contexts} images"


def _drains(
    step: Step, tensors: Mapping[str, Tensor], lists: LayerLists, config: AcceleratorConfig
) -> int:
    """Return how many instructions drain a step."""
    read = ReadWords(layer=step.walked, layout=tensors[step.layer.inputs[0]].layout)
    last = [item.part for item in lists.parts if read.is_last(item.part.span)]
    if step.drained is None:
        return len(last)
    return sum(len(part_tiles(step.layer, step.drained, part, config)) for part in last)


def _plans(
    places: list[StepPlace],
    instructions: list[list[tuple[int, Instruction]]],
    tensors: dict[str, Tensor],
) -> list[LayerPlan]:
    """Return what became of each layer, an affine one after its source."""
    plans = []
    for place, of_step in zip(places, instructions, strict=True):
        plans.append(
            LayerPlan(
                name=place.layer.name,
                instructions=len(of_step),
                base=place.bases.target,
                rows=place.target.layout.rows,
                positions=place.target.places,
                divided=place.lists.divided,
                weights=place.lists.entries,
            )
        )
        if place.step.second is not None:
            second = tensors[place.step.second.name]
            plans.append(
                LayerPlan(
                    name=place.step.second.name,
                    instructions=0,
                    base=place.bases.second,
                    rows=second.layout.rows,
                    positions=second.places,
                    divided=False,
                    weights=0,
                    second_of=place.layer.name,
                )
            )
    return plans


def _check_layer(layer: Layer, config: AcceleratorConfig) -> None:
    """Refuse a layer whose sums the accumulators, or biases the parameters, cannot hold."""
    limit = 2 ** (config.acc_width - 1) - 1
    if layer.largest_sum > limit:
        raise CompileError(
            f"layer {layer.name!r}: sums can reach {layer.largest_sum}, "
            f"acc_width {config.acc_width} holds {limit}"
        )
    if np.abs(layer.bias.astype(np.int64)).max() >= _BIAS_LIMIT:
        raise CompileError(f"layer {layer.name!r}: biases must be below {_BIAS_LIMIT}")


def _instruction_sections(instructions: list[Instruction]) -> list[Section]:
    return [
        Section(
            memory=Memory.INSTRUCTION,
            address=index * INSTRUCTION_WORDS,
            values=np.array(instruction.encode(), dtype=np.uint32)[:, None],
        )
        for index, instruction in enumerate(instructions)
    ]


def _block_sections(places: list[StepPlace]) -> list[list[Section]]:
    """Return the streamed weights and list tables, block by block."""
    blocks: list[list[Section]] = []
    for place in places:
        for part, lies in zip(place.lists.parts, place.bases.lists, strict=True):
            if lies.block is not None:
                blocks += [[]] * (lies.block == len(blocks))
                blocks[-1] = [*blocks[-1], *list_sections(part, lies)]
    return blocks
