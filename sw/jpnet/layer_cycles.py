"""Cycles and stall causes of each layer, measured or predicted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.runner import SimulationError, run_native
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_spec.image import SLOTS, HeaderWord
from jpnet_spec.instruction import FIELDS, LayerFlag, Opcode
from jpnet_spec.schedule import Schedule

__all__ = ["LayerCycles", "layer_cycles", "measure_layers", "program_prefix"]

_COUNTED = (Counter.CYCLES, Counter.MACS, *STALL_COUNTERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCycles:
    """What one layer takes, per image, when images run one at a time.

    Parameters
    ----------
    name
        The layer.
    cycles
        Cycles; the first layer's hold the transfers of image and result too.
    macs
        Products issued.
    stalls
        Lane cycles without a product by cause; with the products they fill all lanes' cycles.
    """

    name: str
    cycles: float
    macs: float
    stalls: dict[str, float]


def program_prefix(schedule: Schedule, layers: int) -> NDArray[np.uint32]:
    """Return the program of the first layers alone, with everything else as it was.

    The result's place and size stay the whole program's, so that the transfers cost the same;
    its values mean nothing. A stream ends with the block of the last layer, or with the one after
    it: an instruction that reads nothing uses that one where the number would be odd.
    """
    editor = ProgramEditor(schedule.program)
    instructions = sum(plan.instructions for plan in schedule.layers[:layers])
    ending = LayerFlag.RESULT | LayerFlag.FREE_IMAGE
    if editor.blocks:
        ending |= LayerFlag.NEXT_BLOCK
        instructions = _shorten_stream(editor, instructions)
    last = instructions - 1
    editor.set_field(last, "flags", int(LayerFlag(editor.field(last, "flags")) | ending))
    editor.words[HeaderWord.INSTRUCTIONS] = instructions
    return editor.seal().words


def _shorten_stream(editor: ProgramEditor, instructions: int) -> int:
    """Leave out the blocks that are not needed; return the number of instructions."""
    ends = [
        bool(editor.field(index, "flags") & LayerFlag.NEXT_BLOCK) for index in range(instructions)
    ]
    blocks = sum(ends) + (not ends[-1])
    if blocks % SLOTS:
        blocks += 1
        flags = LayerFlag(editor.field(instructions - 1, "flags"))
        editor.set_field(instructions - 1, "flags", int(flags | LayerFlag.NEXT_BLOCK))
        whole = LayerFlag.FIRST_TILE | LayerFlag.LAST_TILE
        idle: dict[str, int] = {
            "opcode": Opcode.FULLY_CONNECTED,
            "flags": whole,
            "target_base": int(editor.words[HeaderWord.RESULT_BASE]),
            "rows": 1,
        }
        for name in FIELDS:
            editor.set_field(instructions, name, idle.get(name, 0))
        instructions += 1
    editor.words[HeaderWord.BLOCKS] = blocks
    editor.words[editor.blocks[blocks - 1].offset] = editor.words[HeaderWord.BLOCK_WORDS]
    return instructions


def layer_cycles(
    schedule: Schedule, counters_of: Callable[[Schedule], Mapping[Counter, float]]
) -> Sequence[LayerCycles]:
    """Return each layer's cycles: the difference of programs that end after it and before it.

    Parameters
    ----------
    schedule
        What runs.
    counters_of
        Returns the counters per image of a schedule with such a program, images run one at a time.
    """
    found = []
    before: Mapping[Counter, float] = dict.fromkeys(Counter, 0.0)
    for index, plan in enumerate(schedule.layers):
        after = counters_of(replace(schedule, program=program_prefix(schedule, index + 1)))
        spent = {counter: after[counter] - before[counter] for counter in _COUNTED}
        found.append(
            LayerCycles(
                name=plan.name,
                cycles=spent[Counter.CYCLES],
                macs=spent[Counter.MACS],
                stalls={counter.name: spent[counter] for counter in STALL_COUNTERS},
            )
        )
        before = after
    return found


def measure_layers(
    schedule: Schedule,
    *,
    verilog_dir: Path,
    images: NDArray[np.int8],
    cache_dir: Path,
    optimise: bool = True,
) -> Sequence[LayerCycles]:
    """Measure each layer on the generated Verilog.

    Parameters
    ----------
    schedule
        What runs.
    verilog_dir
        Folder with the Verilog of the schedule's configuration.
    images : int8, shape (images, *input_shape)
        Run one at a time.
    cache_dir
        Where simulator builds are kept.
    optimise
        As in `jpnet_cosim.verilator_build.build_native`.

    Raises
    ------
    SimulationError
        If a run ends with an error or not in time.
    """

    def counters_of(part: Schedule) -> dict[Counter, float]:
        result = run_native(
            verilog_dir,
            schedule=part,
            images=images,
            cache_dir=cache_dir,
            images_per_run=1,
            optimise=optimise,
        )
        if result.error:
            raise SimulationError(
                f"first layers of {schedule.network_name} ended with {result.error.name}"
            )
        return {counter: value / len(images) for counter, value in result.counters.items()}

    return layer_cycles(schedule, counters_of)
