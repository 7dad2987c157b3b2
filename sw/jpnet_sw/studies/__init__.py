"""Studies of a trained network: what its filters cost, and what else they could be."""

from jpnet_sw.studies.densities import measure_densities
from jpnet_sw.studies.fine_tuning import FineTuning
from jpnet_sw.studies.histograms import measure_histograms
from jpnet_sw.studies.pruned_run import PrunedRun
from jpnet_sw.studies.sampling import measure_sampling
from jpnet_sw.studies.sensitivity import measure_sensitivity
from jpnet_sw.studies.thresholds import compare_thresholds
from jpnet_sw.studies.tradeoff import measure_tradeoff

__all__ = [
    "FineTuning",
    "PrunedRun",
    "compare_thresholds",
    "measure_densities",
    "measure_histograms",
    "measure_sampling",
    "measure_sensitivity",
    "measure_tradeoff",
]
