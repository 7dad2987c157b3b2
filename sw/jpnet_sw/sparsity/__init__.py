"""Sparse weights and sparse activations."""

from jpnet_sw.sparsity.masks import WeightMasks
from jpnet_sw.sparsity.sensitivity import choose_winner_rates
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["TopNFilter", "WeightMasks", "choose_winner_rates"]
