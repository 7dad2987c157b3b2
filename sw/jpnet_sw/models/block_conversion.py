"""From trained post-activation blocks to pre-activation blocks that nearly compute the same."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from jpnet_sw.models.checkpoint import Checkpoint
from jpnet_sw.models.residual import BlockKind, ResidualBlock, ResidualNetwork

__all__ = ["begin_converted", "is_convertible"]

_POST_ACTIVATION_NAME = ".bn2.weight"


def is_convertible(checkpoint: Checkpoint, network: nn.Module) -> bool:
    """Return whether a checkpoint has post-activation blocks and a network pre-activation ones."""
    return (
        isinstance(network, ResidualNetwork)
        and network.kind is BlockKind.PRE_ACTIVATION
        and any(name.endswith(_POST_ACTIVATION_NAME) for name in checkpoint.tensors)
    )


@torch.no_grad()
def begin_converted(network: nn.Module, checkpoint: Checkpoint, images: Tensor) -> None:
    """Give pre-activation blocks the weights of trained post-activation blocks.

    The normalisation before each addition becomes a factor of the second convolution's weights and
    a shift of the sums, which the normalisation after the addition makes up for; its statistics
    are those of the images. Activation functions and shortcuts remain the network's own, and a sum
    is carried on with its negative part, which a post-activation block cuts off: the network needs
    to be trained further.

    Parameters
    ----------
    network
        One that `is_convertible` finds fit; it takes images from 0 to 1.
    checkpoint
        Of as many blocks and channels.
    images : float32, shape (images, channels, height, width), 0 to 1
        Of the training images, some hundred.

    Raises
    ------
    ArtefactError
        If a tensor does not fit.
    """
    assert isinstance(network, ResidualNetwork)
    trained = ResidualNetwork(
        network.blocks,
        kind=BlockKind.POST_ACTIVATION,
        slope=0.0,
        width=network.width,
        channels=network.conv1.in_channels,
    ).to(images.device)
    checkpoint.fold_into(trained)
    for name in ("conv1", "bn1", "linear"):
        network.get_submodule(name).load_state_dict(trained.get_submodule(name).state_dict())
    shift = images.new_zeros(network.conv1.out_channels)
    hooks = []
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    others = [module for module in trained.modules() if isinstance(module, ResidualBlock)]
    for block, other in zip(blocks, others, strict=True):
        for name in ("conv1", "bn1"):
            block.get_submodule(name).load_state_dict(other.get_submodule(name).state_dict())
        norm = other.bn2
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        block.conv2.weight.copy_(other.conv2.weight * factor[:, None, None, None])
        around = (block.shortcut.first_channel, block.shortcut.last_channel)
        shift = functional.pad(shift, around) + norm.bias - factor * norm.running_mean
        hooks.append(block.bn_sum.register_forward_pre_hook(_make_shift(shift)))
    was_training = network.training
    network.eval()(images)
    network.train(was_training)
    for hook in hooks:
        hook.remove()


def _make_shift(shift: Tensor) -> Callable[[nn.BatchNorm2d, tuple[Tensor]], None]:
    """Return a hook that lets a batch normalisation add a shift, whatever its inputs are."""

    def set_from_inputs(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.copy_(shift + mean)

    return set_from_inputs
