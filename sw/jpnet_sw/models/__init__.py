"""Networks as plain torch modules."""

from jpnet_sw.models.convolutional import convnet5, lenet4
from jpnet_sw.models.mlp import mlp3
from jpnet_sw.models.registry import build_model, model_names

__all__ = ["build_model", "convnet5", "lenet4", "mlp3", "model_names"]
