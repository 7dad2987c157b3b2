from dataclasses import replace

import numpy as np
import pytest

from jpnet.layer_cycles import program_prefix
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.program_model import ProgramModel
from jpnet_cosim.samples import SMALL, random_images, random_network
from jpnet_spec.image import SLOTS, HeaderWord
from jpnet_spec.instruction import LayerFlag
from jpnet_spec.network import IntegerNetwork
from jpnet_sw.compiler import compile_network


def test_whole_program_is_its_own_prefix_but_for_the_freed_image(
    small_network: IntegerNetwork,
) -> None:
    schedule = compile_network(small_network, SMALL)
    prefix = ProgramEditor(program_prefix(schedule, 2))
    prefix.set_field(1, "flags", ProgramEditor(schedule.program).field(1, "flags"))
    assert np.array_equal(prefix.seal().words, schedule.program)


def test_prefix_ends_after_its_last_layer(small_network: IntegerNetwork) -> None:
    schedule = compile_network(small_network, SMALL)
    words = program_prefix(schedule, 1)
    assert words[HeaderWord.INSTRUCTIONS] == 1
    assert ProgramEditor(words).field(0, "flags") & LayerFlag.RESULT
    assert np.array_equal(ProgramEditor(words).seal().words, words)
    assert schedule.program[HeaderWord.INSTRUCTIONS] == 2


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_prefix_of_a_streamed_program_has_an_even_number_of_blocks(
    layers: int,
) -> None:
    rng = np.random.default_rng(11)
    network = random_network(rng)
    tight = replace(SMALL, weight_depth=64, pointer_depth=128, program_depth=64)
    schedule = compile_network(network, tight)
    words = program_prefix(schedule, layers)
    assert 0 < words[HeaderWord.BLOCKS] <= schedule.stream_blocks
    assert words[HeaderWord.BLOCKS] % SLOTS == 0
    editor = ProgramEditor(words)
    count = int(words[HeaderWord.INSTRUCTIONS])
    flags = [LayerFlag(editor.field(index, "flags")) for index in range(count)]
    assert sum(LayerFlag.NEXT_BLOCK in item for item in flags) == words[HeaderWord.BLOCKS]
    assert [LayerFlag.RESULT in item for item in flags].index(True) == count - 1
    assert np.array_equal(editor.seal().words, words)
    outputs = ProgramModel(words, tight).run(schedule.layout_images(random_images(rng, 2)))
    whole = ProgramModel(schedule.program, tight).run(schedule.layout_images(random_images(rng, 2)))
    assert len(whole) == 4
    assert len(outputs) in (layers, layers + 1)
