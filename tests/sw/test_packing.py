"""Weight lists as runs and as blocks."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from jpnet_cosim.map_samples import random_convolutional_network
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.program_model import ProgramModel
from jpnet_cosim.samples import MODES, random_network
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory
from jpnet_spec.packed_lists import ListPacking
from jpnet_sw.compiler import CompileError, ListEncoding, compile_network
from jpnet_sw.sparsity.structure import block_max_mask, from_lists, to_lists

CONFIG = AcceleratorConfig(list_decoder=1)
STREAMING = replace(CONFIG, weight_depth=256, pointer_depth=512)


def weight_sections(schedule):
    editor = ProgramEditor(schedule.program)
    streamed = [section for block in editor.blocks for section in block.sections]
    sections = [*editor.sections, *streamed]
    return [section for section in sections if section.memory is Memory.WEIGHT]


def words(schedule):
    return sum(section.end - section.offset for section in weight_sections(schedule))


def lists_of(schedule):
    """Return what each lane's lists hold, list by list, without weights of zero."""
    model = ProgramModel(schedule.program, schedule.config)
    weights, tables = model._weights, model.lists
    found = []
    for place in np.ndindex(*tables.shape[:-1]):
        table, memory = tables[place].astype(int), weights[place]
        lists = [memory[a:b] for a, b in pairwise(table) if b > a]
        found.append([[int(e) for e in item if e & 0xFF] for item in lists])
    return [[item for item in lane if item] for lane in found]


@pytest.mark.parametrize("encoding", [ListEncoding.RUN_LENGTH, ListEncoding.SMALLEST])
def test_packed_lists_hold_the_same_weights(encoding):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        network = random_convolutional_network(rng, largest=9, channels=16)
        try:
            explicit = compile_network(network, CONFIG)
        except CompileError:
            continue
        packed = compile_network(network, CONFIG, encoding=encoding)
        assert lists_of(packed) == lists_of(explicit)


@pytest.mark.parametrize("encoding", list(ListEncoding))
def test_blocks_of_a_stream_fit_their_slots(encoding):
    rng = np.random.default_rng(5)
    network = random_network(rng, dims=(96, 64, 48, 10), modes=MODES[:3])
    schedule = compile_network(network, STREAMING, encoding=encoding)
    assert schedule.stream_blocks
    for section in weight_sections(schedule):
        first, end = section.address, section.address + section.entries
        assert first // 128 == (end - 1) // 128
    if encoding in (ListEncoding.RUN_LENGTH, ListEncoding.SMALLEST):
        assert words(schedule) < words(compile_network(network, STREAMING))


def block_masked(network, size):
    """Return the network with one weight in each block of each lane's lists."""
    layers = []
    for layer in network.layers:
        weight = torch.from_numpy(np.where(layer.weight == 0, 1, layer.weight).astype(np.float32))
        cut = to_lists(weight.abs(), CONFIG.lanes)
        sizes = torch.full((len(cut),), size)
        mask = from_lists(
            block_max_mask(cut, sizes, parts=CONFIG.lanes), CONFIG.lanes, weight.shape
        )
        layers.append(replace(layer, weight=(weight * mask).numpy().astype(np.int8)))
    return replace(network, layers=tuple(layers))


def test_blocks_of_trained_masks_are_found():
    rng = np.random.default_rng(2)
    network = block_masked(random_network(rng, dims=(40, 64, 32, 16), modes=MODES[:3]), 4)
    schedule = compile_network(network, CONFIG, encoding=ListEncoding.BLOCKS)
    sections = weight_sections(schedule)
    assert {section.packing for section in sections} == {ListPacking.BLOCKS}
    living = sum(np.count_nonzero(layer.weight) for layer in network.layers)
    entries = CONFIG.lanes * sum(section.entries for section in sections)
    assert entries <= 1.1 * living
    # Eight bits of a weight, two of its place, one for the list's code, and headers.
    assert 10 < 32 * words(schedule) / living < 13
