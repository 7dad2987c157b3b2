"""Which tensor each instruction of a program reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from jpnet_spec.image import HeaderWord
from jpnet_spec.schedule import Schedule

__all__ = ["TensorRead", "tensors_read"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorRead:
    """A tensor in the activation memory.

    Parameters
    ----------
    layer
        Its place in the schedule's layers, None for the image.
    base, words
        Where it lies in every bank.
    """

    layer: int | None
    base: int
    words: int


def tensors_read(
    schedule: Schedule, instructions: Sequence[Mapping[str, int]]
) -> list[TensorRead | None]:
    """Return what each instruction reads: of the tensors that lie there the last one written.

    Parameters
    ----------
    schedule
        Its layers and the place of its image are used.
    instructions
        Fields of each instruction, by name.

    Returns
    -------
    list
        None for an instruction that reads no tensor, at the end of a shortened program.
    """
    config = schedule.config

    def tensor(layer: int | None, base: int, rows: int) -> TensorRead:
        return TensorRead(layer=layer, base=base, words=config.bank_words(rows))

    written = [tensor(None, int(schedule.program[HeaderWord.INPUT_BASE]), schedule.input_rows)]
    following, found = iter(instructions), list[TensorRead | None]()
    for layer, plan in enumerate(schedule.layers):
        for fields in islice(following, plan.instructions):
            base = fields["source_base"]
            here = (item for item in reversed(written) if 0 <= base - item.base < item.words)
            found.append(next(here, None))
        written.append(tensor(layer, plan.base, plan.rows))
    return found
