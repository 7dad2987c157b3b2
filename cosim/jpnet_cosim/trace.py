"""Records of a core's trace: rows written to the activation memory, and thresholds."""

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.schedule import Schedule

__all__ = ["THRESHOLD_DTYPE", "row_dtype", "rows_of_writes", "write_dtype"]

THRESHOLD_DTYPE = np.dtype(
    [("image", "<u4"), ("layer", "<u2"), ("threshold", "<u2"), ("cycle", "<u8")]
)
"""Record of one threshold."""


def row_dtype(lanes: int) -> np.dtype:
    """Return the record of one drained row.

    ``layer`` is the instruction, ``second`` tells that it belongs to its second tensor, and ``row``
    is its number in its tensor.
    """
    return np.dtype(
        [
            *(("image", "<u4"), ("layer", "<u2"), ("second", "?"), ("row", "<i4")),
            ("acts", "i1", (lanes,)),
        ]
    )


def write_dtype(acts_bytes: int) -> np.dtype:
    """Return the record of one write, packed: the trace's row outputs of one cycle.

    Parameters
    ----------
    acts_bytes
        Bytes of ``acts``, at least one a lane of every cluster; the first ones are used.
    """
    return np.dtype(
        [
            *(("image", "<u4"), ("layer", "<u2"), ("column", "<u2"), ("address", "<u4")),
            *(("banks", "<u8"), ("acts", "i1", (acts_bytes,))),
        ]
    )


def rows_of_writes(writes: NDArray[np.void], schedule: Schedule) -> NDArray[np.void]:
    """Return a record for each bank that each write stored a row in.

    Parameters
    ----------
    writes : of a `write_dtype`, shape (writes,)
    schedule
        What ran. Writes of an instruction that it lacks count as the last one's.

    Returns
    -------
    Records of `row_dtype`, in the order of the writes.
    """
    config = schedule.config
    set_bits = writes["banks"][:, None] >> np.arange(config.clusters, dtype=np.uint64)
    step, bank = np.nonzero(set_bits & np.uint64(1))
    layer, address, column = (
        writes[name][step].astype(np.int64) for name in ("layer", "address", "column")
    )
    rows = np.zeros(len(step), dtype=row_dtype(config.lanes))
    rows["image"] = writes["image"][step]
    rows["layer"] = layer
    first, second = _bases(schedule)
    place = np.minimum(layer, len(schedule.instruction_layers) - 1)
    rows["second"] = (address >= second[place, 0]) & (address < second[place, 1])
    word = address - np.where(rows["second"], second[place, 0], first[place])
    rows["row"] = (word * config.act_columns + column) * config.clusters + bank
    acts = writes["acts"][:, : config.lanes * config.clusters]
    rows["acts"] = acts.reshape(-1, config.clusters, config.lanes)[step, bank]
    return rows


def _bases(schedule: Schedule) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each instruction's tensors lie.

    The first word of the tensor, and the first and the end of the second one, both 0 where there is
    none.
    """
    width = schedule.config.clusters * schedule.config.act_columns
    ends = {
        plan.second_of: (plan.base, plan.base + plan.rows // width)
        for plan in schedule.layers
        if plan.second_of is not None
    }
    plans = [schedule.layers[index] for index in schedule.instruction_layers]
    second = [ends.get(plan.name, (0, 0)) for plan in plans]
    return np.array([plan.base for plan in plans]), np.array(second)
