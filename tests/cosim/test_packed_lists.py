"""Networks whose lists are packed, through the generated Verilog."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jpnet_cosim.cycles.estimate import CycleModel
from jpnet_cosim.map_samples import random_convolutional_network, random_maps
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.runner import BusModel, run_native
from jpnet_cosim.samples import CLUSTERED, MODES, STREAMED, random_images, random_network
from jpnet_cosim.scoreboard import compare
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.packed_lists import ListPacking
from jpnet_sw.compiler import CompileError, ListEncoding, compile_network

Emitted = Callable[[AcceleratorConfig], Path]

PACKED = [ListEncoding.RUN_LENGTH, ListEncoding.BLOCKS, ListEncoding.SMALLEST]


def run_packed(
    network: IntegerNetwork,
    images: np.ndarray,
    config: AcceleratorConfig,
    encoding: ListEncoding,
    places: tuple[Emitted, Path],
    *,
    stall: int = 0,
    exact: bool = True,
) -> set[ListPacking]:
    """Run a network; every value must be right, and exact cycles; return the packings."""
    emitted, cache = places
    schedule = compile_network(network, config, encoding=encoding)
    run = run_native(
        emitted(config),
        schedule=schedule,
        images=images,
        cache_dir=cache,
        bus=BusModel(stall_percent=stall, stall_seed=stall),
        optimise=False,
    )
    traces = network.run(images)
    assert run.error is ErrorCode.NONE
    comparison = compare(schedule, traces, run)
    assert comparison.mismatches == 0, str(comparison)
    if exact:
        found = CycleModel(schedule, traces, images).run().counters
        for counter in (Counter.CYCLES, Counter.MACS, Counter.IDLE_MEMORY):
            assert found[counter] == run.counters[counter], counter
    editor = ProgramEditor(schedule.program)
    streamed = [section for block in editor.blocks for section in block.sections]
    return {section.packing for section in (*editor.sections, *streamed)}


@pytest.mark.parametrize("encoding", PACKED)
def test_packed_vectors_are_right_and_take_the_cycles_predicted(
    rng: np.random.Generator, emitted: Emitted, cache_dir: Path, encoding: ListEncoding
) -> None:
    seen = set()
    for dims in ((24, 40, 30, 9), (12, 20, 6), (60, 16, 33, 4)):
        modes = [MODES[int(index)] for index in rng.integers(0, 4, len(dims) - 1)]
        network = random_network(rng, dims=dims, modes=modes)
        images = random_images(rng, 7, dims[0])
        for stall in (0, 40):
            places = emitted, cache_dir
            seen |= run_packed(
                network, images, STREAMED, encoding, places, stall=stall, exact=not stall
            )
    wanted = {ListPacking[encoding.name]} if encoding is not ListEncoding.SMALLEST else set()
    assert wanted <= seen


@pytest.mark.parametrize("encoding", PACKED)
def test_packed_maps_are_right_and_take_the_cycles_predicted(
    emitted: Emitted, cache_dir: Path, encoding: ListEncoding
) -> None:
    packed = compiled = 0
    for seed in (7, 8, 10, 11, 15):
        rng = np.random.default_rng(seed)
        network = random_convolutional_network(rng, largest=8, channels=40)
        stall = 20 * (seed % 2)
        # Where inputs are cut, predictions are exact for one or two images.
        images = random_maps(rng, 4 if stall else 2, network.input_shape)
        places = emitted, cache_dir
        try:
            seen = run_packed(
                network, images, CLUSTERED, encoding, places, stall=stall, exact=not stall
            )
        except CompileError:
            continue
        packed += seen != {ListPacking.NONE}
        compiled += 1
    assert compiled == 5
    assert packed >= 3 or encoding is ListEncoding.SMALLEST


def test_an_accelerator_without_a_decoder_is_told(rng: np.random.Generator) -> None:
    config = AcceleratorConfig()
    with pytest.raises(ValueError, match=r"encoding blocks needs .* list_decoder 1, not 0"):
        compile_network(random_network(rng), config, encoding=ListEncoding.BLOCKS)
    with pytest.raises(ValueError, match="lanes must be at most 4 with list_decoder, not 8"):
        AcceleratorConfig(lanes=8, list_decoder=1)
