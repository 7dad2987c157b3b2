"""Residual networks."""

from collections import OrderedDict
from enum import StrEnum

from torch import Tensor, nn
from torch.nn import functional

from jpnet_spec.shortcut import ShortcutKind
from jpnet_sw.layout import channels_last
from jpnet_sw.sparsity.top_n_filter import TopNFilter

__all__ = ["BlockKind", "ResidualBlock", "ResidualNetwork", "Shortcut", "resnet"]

_CLASSES = 10
_CHANNELS = 16
_STAGES = 3


class BlockKind(StrEnum):
    """Where a residual block normalises and activates."""

    PRE_ACTIVATION = "pre-activation"
    """After the addition, for the next block only: the shortcut carries bare sums."""
    POST_ACTIVATION = "post-activation"
    """Before the addition and after it: the shortcut carries activations."""


class Shortcut(nn.Module):
    """A shortcut without parameters: a smaller map, zero channels around the given ones.

    Parameters
    ----------
    inputs, outputs
        Channels; half of the missing ones go before, the larger half of an odd number after.
    stride
        Of the map.
    kind
        How the map becomes smaller; of no effect with a stride of 1.

    Raises
    ------
    ValueError
        If there are fewer outputs than inputs, or the stride is below 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        stride: int = 1,
        kind: ShortcutKind = ShortcutKind.SUBSAMPLE,
    ) -> None:
        super().__init__()
        if outputs < inputs:
            raise ValueError(f"Shortcut.outputs must be at least {inputs} inputs, not {outputs!r}")
        if stride < 1:
            raise ValueError(f"Shortcut.stride must be at least 1, not {stride!r}")
        self.outputs = outputs
        self.stride = stride
        self.kind = kind
        self.first_channel = (outputs - inputs) // 2
        self.last_channel = outputs - inputs - self.first_channel

    def extra_repr(self) -> str:
        """Return kind, stride and zero channels for printing the model."""
        around = (self.first_channel, self.last_channel)
        return f"kind={self.kind.value}, stride={self.stride}, zero_channels={around}"

    def forward(self, maps: Tensor) -> Tensor:
        """Return what is added to the block's sums.

        Parameters
        ----------
        maps : float, shape (images, inputs, height, width)
        """
        return self.sums(maps) / self.area if self.area > 1 else self.sums(maps)

    @property
    def area(self) -> int:
        """Elements of a square of which the mean is taken, or 1."""
        return self.stride**2 if self.kind is ShortcutKind.AVERAGE else 1

    def sums(self, maps: Tensor) -> Tensor:
        """Return what is added, times `area`: of integers, integers.

        Parameters
        ----------
        maps : float, shape (images, inputs, height, width)
        """
        if self.stride > 1:
            if self.kind is ShortcutKind.AVERAGE:
                maps = functional.avg_pool2d(maps, self.stride, divisor_override=1)
            else:
                maps = maps[:, :, :: self.stride, :: self.stride]
        if not (self.first_channel or self.last_channel):
            return maps
        return functional.pad(maps, (0, 0, 0, 0, self.first_channel, self.last_channel))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them.

    A pre-activation block holds the normalisation, the activation function and the filter that
    follow its addition; the shortcut around the next block begins before them. In either kind the
    shortcut begins before the filter: losers take part in no product, but in the next addition.

    Parameters
    ----------
    inputs, outputs
        Channels.
    stride
        Of the first convolution and of the shortcut.
    kind
        Where the block normalises and activates.
    slope
        Of the activation function for negative values.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, kind: BlockKind, slope: float
    ) -> None:
        super().__init__()
        self.kind = kind
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.act1 = _activation(slope)
        self.top_n1 = TopNFilter()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        pre_activation = kind is BlockKind.PRE_ACTIVATION
        # They see different tensors, hence two names: no checkpoint fits the other kind.
        if pre_activation:
            self.bn_sum = nn.BatchNorm2d(outputs)
        else:
            self.bn2 = nn.BatchNorm2d(outputs)
        shortcut = ShortcutKind.AVERAGE if pre_activation else ShortcutKind.SUBSAMPLE
        self.shortcut = Shortcut(inputs, outputs, stride=stride, kind=shortcut)
        self.act2 = _activation(slope)
        self.top_n2 = TopNFilter()

    def forward(self, carried: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the next block's shortcut and first convolution take.

        Parameters
        ----------
        carried, active : float, shape (images, inputs, height, width)
            What this block's shortcut and first convolution take.
        """
        inner = self.top_n1(self.act1(self.bn1(self.conv1(active))))
        if self.kind is BlockKind.PRE_ACTIVATION:
            carried = self.conv2(inner) + self.shortcut(carried)
            return carried, self.top_n2(self.act2(self.bn_sum(carried)))
        carried = self.act2(self.bn2(self.conv2(inner)) + self.shortcut(carried))
        return carried, self.top_n2(carried)


class ResidualNetwork(nn.Module):
    """A convolution, three stages of residual blocks, global average pooling, ten classes.

    The second and the third stage halve the map in their first block. The modules' names are those
    of public checkpoints of thin residual networks with post-activation blocks.

    Parameters
    ----------
    blocks
        Of each stage.
    kind
        Of the blocks.
    slope
        Of the activation functions for negative values; 0 for ReLU.
    width
        Factor of the stages' 16, 32 and 64 channels; the first convolution always has 16.
    channels
        Of the images.
    """

    def __init__(
        self, blocks: int, *, kind: BlockKind, slope: float, width: int = 1, channels: int = 3
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.kind = kind
        self.width = width
        self.conv1 = nn.Conv2d(channels, _CHANNELS, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_CHANNELS)
        self.act1 = _activation(slope)
        self.top_n1 = TopNFilter()
        inputs = _CHANNELS
        for stage in range(_STAGES):
            outputs = _CHANNELS * width * 2**stage
            modules: OrderedDict[str, nn.Module] = OrderedDict()
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                modules[str(index)] = ResidualBlock(
                    inputs, outputs, stride=stride, kind=kind, slope=slope
                )
                inputs = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(modules))
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(inputs, _CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", a=slope)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits.

        Parameters
        ----------
        images : float32, shape (images, channels, height, width), 0 to 1
        """
        carried = self.act1(self.bn1(self.conv1(channels_last(images))))
        active = self.top_n1(carried)
        for stage in range(_STAGES):
            for block in self.get_submodule(f"layer{stage + 1}").children():
                carried, active = block(carried, active)
        logits: Tensor = self.linear(self.flatten(self.average(active)))
        return logits


def resnet(
    image_shape: tuple[int, ...],
    *,
    layers: int,
    kind: BlockKind = BlockKind.PRE_ACTIVATION,
    slope: float = 0.1,
    width: int = 1,
) -> ResidualNetwork:
    """Build a residual network of 20, 32, 44, 56, ... layers with weights.

    By default the one of IPnet, table 5: pre-activation blocks, leaky ReLU of slope 0.1 and
    shortcuts that average; ``layers=32, width=10`` has the paper's 160, 320 and 640 channels. A
    filter, which begins switched off, follows each activation function.

    Parameters
    ----------
    image_shape
        Channels, height and width; the model takes float images of that shape, 0 to 1.
    layers
        ``6 * n + 2`` for stages of n blocks.
    kind
        Of the blocks; those of the kind POST_ACTIVATION have shortcuts that subsample.
    slope
        Of the activation functions for negative values; 0 for ReLU.
    width
        Factor of the 16, 32 and 64 channels.

    Raises
    ------
    ValueError
        If no number of blocks makes that many layers, or the width is below 1.
    """
    blocks, rest = divmod(layers - 2, 2 * _STAGES)
    if blocks < 1 or rest:
        raise ValueError(f"layers must be 6 * n + 2 for stages of n blocks, not {layers!r}")
    if width < 1:
        raise ValueError(f"width must be at least 1, not {width!r}")
    return ResidualNetwork(blocks, kind=kind, slope=slope, width=width, channels=image_shape[0])


def _activation(slope: float) -> nn.Module:
    return nn.LeakyReLU(slope) if slope else nn.ReLU()
