"""What the cycle model knows of a configuration and of the memory around it."""

from typing import NamedTuple

from jpnet_hw.activation_bank import beat_rows
from jpnet_spec.config import AcceleratorConfig

__all__ = ["Shape", "shape_of"]


class Shape(NamedTuple):
    """Numbers of a configuration, named as there, and of the memory.

    Parameters
    ----------
    contexts
        Those that are used: images in flight.
    in_turn
        Whether contexts go first in turn, not that of the oldest image.
    beat_parts
        Beats that fill one row of each cluster's bank, 1 where a beat fills all of them.
    word_beats
        Beats of a bank that fill one of its words.
    beat_rows
        Rows in a beat.
    memory_latency
        Cycles from a request to the first beat.
    """

    clusters: int
    groups: int
    lanes: int
    contexts: int
    in_turn: bool
    act_word: int
    fifo_depth: int
    beat_parts: int
    word_beats: int
    beat_rows: int
    memory_latency: int


def shape_of(
    config: AcceleratorConfig, *, in_flight: int, streamed: bool, memory_latency: int
) -> Shape:
    """Return the numbers of a configuration with so many images in flight."""
    per_bank = beat_rows(config)
    return Shape(
        clusters=config.clusters,
        groups=config.groups,
        lanes=config.lanes,
        contexts=in_flight,
        in_turn=streamed or in_flight != config.contexts,
        act_word=config.act_word,
        fifo_depth=config.fifo_depth,
        beat_parts=config.clusters * per_bank // config.beat_rows,
        word_beats=config.act_columns // per_bank,
        beat_rows=config.beat_rows,
        memory_latency=memory_latency,
    )
