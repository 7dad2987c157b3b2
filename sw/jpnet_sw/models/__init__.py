"""Networks as plain torch modules."""

from jpnet_sw.models.mlp import mlp3
from jpnet_sw.models.registry import build_model, model_names

__all__ = ["build_model", "mlp3", "model_names"]
