"""Search of densities and winner rates together, for the fewest cycles within a tolerance."""

from jpnet_sw.tuning.rounds import Load, Round, TuneConfig
from jpnet_sw.tuning.space import Family, Point
from jpnet_sw.tuning.tune import Search, Tuned, tune

__all__ = ["Family", "Load", "Point", "Round", "Search", "TuneConfig", "Tuned", "tune"]
