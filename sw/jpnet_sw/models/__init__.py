"""Networks as plain torch modules."""

from jpnet_sw.models.block_conversion import begin_converted, is_convertible
from jpnet_sw.models.checkpoint import Checkpoint, load_checkpoint, read_checkpoint
from jpnet_sw.models.convolutional import convnet5, lenet4
from jpnet_sw.models.mlp import mlp3
from jpnet_sw.models.registry import build_model, model_names
from jpnet_sw.models.residual import resnet

__all__ = [
    "Checkpoint",
    "begin_converted",
    "build_model",
    "convnet5",
    "is_convertible",
    "lenet4",
    "load_checkpoint",
    "mlp3",
    "model_names",
    "read_checkpoint",
    "resnet",
]
