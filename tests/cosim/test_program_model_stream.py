"""Programs whose lists are streamed, executed word by word, compute what the network computes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from jpnet_cosim.benches.core import Job
from jpnet_cosim.map_samples import random_convolutional_network, random_maps
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.program_model import ProgramModel
from jpnet_cosim.samples import MODES, SMALL
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import SLOTS
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.schedule import Schedule
from jpnet_sw.compiler import compile_network

TIGHT = replace(SMALL, weight_depth=64, pointer_depth=128, program_depth=256, act_depth=64)
CONFIGS = {
    "small": TIGHT,
    "one-lane": replace(TIGHT, lanes=1, groups=1, weight_depth=128, param_depth=128),
    "one-group": replace(TIGHT, groups=1, clusters=4),
    "wide-bus": replace(TIGHT, act_word=16, axi_data_width=128, groups=4),
    "many-lanes": replace(TIGHT, lanes=8, groups=1, pointer_depth=64),
    "few-accumulators": replace(TIGHT, acc_depth=4),
}
MAPS = replace(
    TIGHT, acc_depth=512, weight_depth=512, pointer_depth=2048, act_depth=1024, program_depth=1024
)


def assert_exact(network: IntegerNetwork, schedule: Schedule, images: np.ndarray) -> None:
    outputs = ProgramModel(schedule.program, schedule.config).run(schedule.layout_images(images))
    traces = network.run(images)
    assert len(outputs) == len(schedule.layers)
    for index, (plan, output) in enumerate(zip(schedule.layers, outputs, strict=True)):
        expected = traces[plan.name]
        found = schedule.logical(index, output.tensor)
        assert np.array_equal(found, expected.tensor.reshape(len(images), -1)), plan.name
        assert np.array_equal(output.threshold, expected.threshold), plan.name
        assert np.array_equal(output.macs, expected.macs_effective), plan.name


@pytest.mark.parametrize("name", list(CONFIGS))
def test_streamed_vectors_are_exact(make_job: Callable[..., Job], name: str) -> None:
    job = make_job(CONFIGS[name], images=6)
    assert job.schedule.stream_blocks >= SLOTS
    assert_exact(job.network, job.schedule, job.images)


@pytest.mark.parametrize("dims", [(90, 33, 70, 5), (16, 64, 1), (64, 1, 64)])
def test_tiles_of_any_size_are_exact(make_job: Callable[..., Job], dims: tuple[int, ...]) -> None:
    modes = MODES[: len(dims) - 1]
    config = replace(TIGHT, acc_depth=8)
    job = make_job(config, images=6, dims=dims, modes=modes)
    assert_exact(job.network, job.schedule, job.images)


@pytest.mark.parametrize("seed", range(40))
def test_streamed_maps_are_exact(seed: int) -> None:
    rng = np.random.default_rng([seed, 7])
    network = random_convolutional_network(rng)
    images = random_maps(rng, 2, network.input_shape)
    schedule = compile_network(network, _least_weights(network, MAPS))
    assert_exact(network, schedule, images)


def _least_weights(network: IntegerNetwork, config: AcceleratorConfig) -> AcceleratorConfig:
    """Return the configuration with the smallest weight memory that will do."""
    while config.weight_depth > 16:
        smaller = replace(config, weight_depth=config.weight_depth // 2)
        try:
            compile_network(network, smaller)
        except ValueError:
            break
        config = smaller
    return config


def test_blocks_fill_their_slots_in_turn(job: Job) -> None:
    schedule = compile_network(job.network, TIGHT)
    editor = ProgramEditor(schedule.program)
    assert len(editor.blocks) == schedule.stream_blocks
    assert len(editor.blocks) % SLOTS == 0
    for number, block in enumerate(editor.blocks):
        slot = number % SLOTS
        for section in block.sections:
            depth = (TIGHT.weight_depth, TIGHT.pointer_depth)[section.memory] // SLOTS
            assert slot * depth <= section.address
            assert section.address + section.entries <= (slot + 1) * depth
    last = editor.blocks[-1]
    assert last.end < len(schedule.program)
    assert 4 * (len(schedule.program) - editor.blocks[0].offset) == schedule.stream_bytes
    assert schedule.stream_bytes_per_image == schedule.stream_bytes / TIGHT.contexts


def test_sealing_a_stream_mends_its_checksums(job: Job) -> None:
    schedule = compile_network(job.network, TIGHT)
    editor = ProgramEditor(schedule.program)
    assert np.array_equal(ProgramEditor(schedule.program).seal().words, schedule.program)
    first = editor.blocks[1].sections[0].first
    editor.flip(first, 3).seal()
    changed = np.flatnonzero(editor.words != schedule.program)
    assert changed.tolist() == [first, editor.blocks[1].end]
