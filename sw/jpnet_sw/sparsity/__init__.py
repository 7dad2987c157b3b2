"""Sparse weights and sparse activations."""

from jpnet_sw.sparsity.clock import Clock
from jpnet_sw.sparsity.gates import GateMethod, GateOptions, GateSite
from jpnet_sw.sparsity.masks import WeightMasks
from jpnet_sw.sparsity.method import GroupOptions, PruningMethod, TrainedOptions
from jpnet_sw.sparsity.options import MethodOptions, option
from jpnet_sw.sparsity.pruner import Pruner
from jpnet_sw.sparsity.rounds import RoundMethod, SelectionOptions
from jpnet_sw.sparsity.score import RunningScore
from jpnet_sw.sparsity.sensitivity import choose_winner_rates
from jpnet_sw.sparsity.target import PrunableLayer, PruningTarget
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = [
    "Clock",
    "GateMethod",
    "GateOptions",
    "GateSite",
    "GroupOptions",
    "MethodOptions",
    "PrunableLayer",
    "Pruner",
    "PruningMethod",
    "PruningTarget",
    "RoundMethod",
    "RunningScore",
    "SelectionOptions",
    "TopNFilter",
    "TrainedOptions",
    "WeightMasks",
    "choose_winner_rates",
    "option",
]
