"""Where tensors lie in the activation memory: words whose tensor is dead are used again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from jpnet_spec.layer import INPUT
from jpnet_spec.network import IntegerNetwork
from jpnet_sw.compiler.graph import layer_graph
from jpnet_sw.compiler.steps import Step

__all__ = ["ActivationWords", "allocate_words", "fewest_words"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivationWords:
    """Words of every tensor.

    Parameters
    ----------
    first
        First word of each tensor, by name.
    release
        The step during which the next image may begin to come: when its source is read.
    need
        Words that are used.
    fullest
        Name of the layer whose output needs the last of them.
    """

    first: Mapping[str, int]
    release: int
    need: int
    fullest: str


def allocate_words(
    network: IntegerNetwork,
    steps: Sequence[Step],
    words: Mapping[str, int],
    single: Sequence[bool],
    limit: int,
) -> ActivationWords:
    """Place every tensor; the smallest need where the limit cannot be kept.

    A step that is one instruction has read its source when its drain begins, so its outputs may
    take the source's words; a sum may take those of the tensor that the drain adds, row by row.
    The image has words of its own, so that the next one can be loaded while the later steps of
    this one run, but where they are needed it comes later.

    Parameters
    ----------
    network
        The network.
    steps
        From `network_steps`.
    words
        Words per cluster of each tensor.
    single
        Whether each step is one instruction.
    limit
        Words that there are.
    """
    graph = layer_graph(network)
    lives = _lives(graph, steps, single, network.layers[-1].name)
    last_reader = max(index for index, step in enumerate(steps) if INPUT in step.layer.inputs)
    best = None
    for release in range(last_reader, len(steps)):
        found = _place(steps, words, lives, release, last_reader)
        if best is None or found.need < best.need:
            best = found
        if found.need <= limit:
            break
    assert best is not None
    return best


def fewest_words(network: IntegerNetwork, steps: Sequence[Step], words: Mapping[str, int]) -> int:
    """Return what no placement of the tensors can do without.

    The words of all tensors that are needed at one time, wherever they lie.

    Parameters
    ----------
    network, steps, words
        As in `allocate_words`.
    """
    single = [True] * len(steps)
    lives = _lives(layer_graph(network), steps, single, network.layers[-1].name)
    most = words[INPUT]
    for index, step in enumerate(steps):
        for time in (2 * index, 2 * index + 1):
            alive = sum(words[name] for name, (begin, end) in lives.items() if begin <= time <= end)
            # The sum may lie where the tensor does that the drain adds.
            shared = 0 if step.carried is None else min(words[step.carried], words[step.layer.name])
            most = max(most, alive - shared)
    return most


def _lives(
    graph: nx.DiGraph, steps: Sequence[Step], single: Sequence[bool], result: str
) -> dict[str, tuple[int, int]]:
    """Return when each tensor is first written and last used.

    Step i reads at time 2i and drains at time 2i + 1; one of several instructions does both at
    both times.
    """
    number = {name: index for index, step in enumerate(steps) for name in step.outputs}
    lives = {}
    for index, step in enumerate(steps):
        for name in step.outputs:
            times = [2 * index + 1]
            for user in graph.successors(name):
                reader = number[user]
                drains = steps[reader].carried == name
                times.append(2 * reader + drains)
            lives[name] = (2 * index + single[index], max(times))
    lives[result] = (lives[result][0], 2 * len(steps))
    return lives


def _place(
    steps: Sequence[Step],
    words: Mapping[str, int],
    lives: Mapping[str, tuple[int, int]],
    release: int,
    last_reader: int,
) -> ActivationWords:
    """Place the tensors, each where the first free words are."""
    image = ((0, 2 * last_reader), (2 * release + 1, 2 * len(steps)))
    times = {INPUT: image} | {name: (life,) for name, life in lives.items()}
    first, need, fullest = {INPUT: 0}, words[INPUT], steps[0].layer.name
    for step in steps:
        for name in step.outputs:
            rivals = [
                other
                for other in first
                if any(
                    begin <= end_of and begin_of <= end
                    for begin, end in times[name]
                    for begin_of, end_of in times[other]
                )
            ]
            spans = {other: (first[other], first[other] + words[other]) for other in rivals}
            dying = step.carried if name == step.layer.name else None
            if dying is not None and lives[dying][1] > lives[name][0] | 1:
                dying = None
            first[name] = _first_free(words[name], spans, dying)
            if first[name] + words[name] > need:
                need, fullest = first[name] + words[name], step.layer.name
    return ActivationWords(first=first, release=release, need=need, fullest=fullest)


def _first_free(size: int, spans: Mapping[str, tuple[int, int]], dying: str | None) -> int:
    """Return where so many words are free, best where the dying tensor lies."""

    def is_free(first: int, taken: Iterable[tuple[int, int]]) -> bool:
        return not any(begin < first + size and first < end for begin, end in taken)

    if dying is not None:
        others = [span for name, span in spans.items() if name != dying]
        if is_free(spans[dying][0], others):
            return spans[dying][0]
    ends = sorted(end for _, end in spans.values())
    return next(first for first in (0, *ends) if is_free(first, spans.values()))
