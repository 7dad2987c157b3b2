"""Which slot keeps each tensor's threshold until its last reader has begun."""

from collections.abc import Sequence

import networkx as nx

from jpnet_spec.instruction import THRESHOLD_SLOTS
from jpnet_spec.layer import INPUT
from jpnet_spec.topn import ThresholdMode
from jpnet_sw.compiler.errors import CompileError
from jpnet_sw.compiler.steps import Step

__all__ = ["threshold_slots"]


def threshold_slots(graph: nx.DiGraph, steps: Sequence[Step]) -> dict[str, int]:
    """Return each tensor's slot, 0 where nothing is filtered or nobody reads it.

    A step may store its threshold where its source's was.

    Raises
    ------
    CompileError
        If more thresholds are alive at once than there are slots.
    """
    reads = {step.layer.name: index for index, step in enumerate(steps)}
    slots = {INPUT: 0}
    free_from = dict.fromkeys(range(1, THRESHOLD_SLOTS), 0)
    for index, step in enumerate(steps):
        slots |= dict.fromkeys(step.outputs, 0)
        layer = step.counted
        readers = [
            reads[user]
            for user in graph.successors(layer.name)
            if user in reads and steps[reads[user]].layer.inputs[0] == layer.name
        ]
        if layer.top_n.mode is ThresholdMode.NONE or not readers:
            continue
        slot = next((slot for slot, time in free_from.items() if time <= index), None)
        if slot is None:
            raise CompileError(
                f"layer {layer.name!r}: needs one threshold more than the {THRESHOLD_SLOTS - 1} "
                "that are kept at a time"
            )
        slots[layer.name], free_from[slot] = slot, max(readers)
    return slots
