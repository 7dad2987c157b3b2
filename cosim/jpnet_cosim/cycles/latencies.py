"""Latencies of the accelerator's parts, as its modules state them."""

from types import SimpleNamespace
from typing import Any, NamedTuple

from jpnet_hw.accumulator import Accumulator
from jpnet_hw.activation_memory import ActivationMemory
from jpnet_hw.cluster import Cluster
from jpnet_hw.drain import Drain
from jpnet_hw.drain_lane import DrainLane
from jpnet_hw.drain_sequencer import DrainSequencer
from jpnet_hw.instruction_fetch import InstructionFetch
from jpnet_hw.memory import PairMemory
from jpnet_hw.threshold import ThresholdCounter
from jpnet_hw.token_builder import TokenBuilder
from jpnet_hw.weight_lists import WeightLists
from jpnet_hw.word_network import WordNetwork
from jpnet_spec.config import AcceleratorConfig

__all__ = ["Latencies", "latencies"]


class Latencies(NamedTuple):
    """Cycles between two events.

    Parameters
    ----------
    first_fetch
        From the start of a run to the first instruction's check.
    fetch
        From an instruction's start, which takes the one fetched before, to the next one's check.
    word
        From the grant of a word to its filtered survivors' entry into the queue.
    stages
        Registers of the token builder behind the word that it works on.
    run
        From a token's acceptance by a group to its run of lists at the head of an empty queue.
    done
        From the take of a job's end by a lane to the cluster's report that all sums are in memory.
    drained
        From the drain's step for the last row to the job's end, where no threshold is counted.
    counted
        The same where the threshold is counted.
    apart
        Between the last rows of jobs that count.
    written
        From that step to the first cycle in which only the threshold is missing.
    added
        From the start of a drain to the read of the first row of a tensor that is added.
    second
        From a row's outputs to those of the second tensor.
    result
        From a result row's address to its data.
    """

    first_fetch: int
    fetch: int
    word: int
    stages: int
    run: int
    done: int
    drained: int
    counted: int
    apart: int
    written: int
    added: int
    second: int
    result: int


def _stated(part: type, name: str, **members: Any) -> int:
    """Return what a part's property would be; a part itself must be built into something."""
    found: int = vars(part)[name].fget(SimpleNamespace(**members))
    return found


def _drain_latency(tree: int) -> int:
    """Return the cycles from a row's read in the accumulators to its place in memory."""
    lane = SimpleNamespace(latency=_stated(DrainLane, "latency", tree_latency=tree))
    return _stated(Drain, "latency", _read_latency=Cluster.DRAIN_LATENCY, _lanes=[lane])


def latencies(config: AcceleratorConfig) -> Latencies:
    """Return the latencies of an accelerator."""
    # A token passes a register in front of the lanes; the queue shows what was written a cycle ago.
    run = 1 + PairMemory.LATENCY + 1
    walk = WeightLists.LATENCY - PairMemory.LATENCY - 1
    # A step's row is read in the next cycle; its magnitudes are counted a cycle before it is
    # written, and the end is a register behind the counter's early report.
    tree = _stated(DrainLane, "tree_latency", _config=config)
    row = 1 + _drain_latency(tree)
    almost = ThresholdCounter.LATENCY - ThresholdCounter.ALMOST_CYCLES
    return Latencies(
        first_fetch=InstructionFetch.LATENCY,
        fetch=InstructionFetch.TAKE_LATENCY,
        word=WordNetwork.LATENCY + 1,
        stages=TokenBuilder.LATENCY - 1,
        run=run,
        # Group and cluster each keep the report in a register.
        done=walk + Accumulator.LATENCY + 2,
        drained=row + 1,
        counted=row - 1 + almost + 1,
        apart=ThresholdCounter.TILE_CYCLES,
        written=row + 1,
        # What is added meets the sums a register behind its memory; a row's place, which it is read
        # at, is known three registers behind the start.
        added=2
        + Cluster.DRAIN_LATENCY
        + tree
        + DrainLane.CARRIED_DELAY
        - ActivationMemory.CARRIED_LATENCY,
        second=DrainSequencer.SECOND_CYCLES,
        result=ActivationMemory.RESULT_LATENCY,
    )
