import numpy as np

from jpnet.layer_cycles import program_prefix
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.samples import SMALL
from jpnet_spec.image import HeaderWord
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
