"""Small random residual networks for tests and benches."""

from dataclasses import dataclass, field, replace

import numpy as np

from jpnet_cosim.samples import SMALL
from jpnet_spec.convolution import Convolution
from jpnet_spec.layer import AFFINE_UNIT
from jpnet_spec.network import INPUT, IntegerNetwork, Layer, LayerOp
from jpnet_spec.numbers import choose_multipliers
from jpnet_spec.shortcut import Shortcut, ShortcutKind
from jpnet_spec.topn import ThresholdMode, TopN, winners_for_rate
from jpnet_spec.window import Window

__all__ = [
    "RESIDENT_RESIDUAL",
    "STREAMED_RESIDUAL",
    "ResidualShape",
    "random_residual_network",
    "residual_network",
]

RESIDENT_RESIDUAL = replace(
    SMALL,
    weight_depth=4096,
    pointer_depth=4096,
    acc_depth=64,
    act_depth=256,
    param_depth=256,
    program_depth=128,
)
"""Holds the lists of small residual networks."""

STREAMED_RESIDUAL = replace(RESIDENT_RESIDUAL, weight_depth=512, pointer_depth=256)
"""Streams those of the larger ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResidualShape:
    """A residual network of 3x3 convolutions with average and classifier.

    Parameters
    ----------
    size
        Height and width of the image.
    channels
        Of the image.
    stages
        Channels of each stage; each but the first halves the map.
    blocks
        Of each stage.
    pre_activation
        Whether the second convolution of a block gives two tensors, its sums and their affine
        function; otherwise the sums are rectified.
    weight_density, winner_rate
        Shares of weights and of activations that are kept.
    """

    size: int
    channels: int = 3
    stages: tuple[int, ...]
    blocks: int
    pre_activation: bool
    weight_density: float = 0.32
    winner_rate: float = 0.3


@dataclass(kw_only=True, slots=True)
class _Maker:
    """Layers that are made one after the other."""

    rng: np.random.Generator
    shape: ResidualShape
    modes: tuple[ThresholdMode, ...]
    layers: list[Layer] = field(default_factory=list)

    def filter(self, elements: int) -> TopN:
        """Return a filter of any of the modes."""
        return TopN(
            mode=self.modes[int(self.rng.integers(len(self.modes)))],
            winners=winners_for_rate(self.shape.winner_rate, elements),
            static_threshold=int(self.rng.integers(20)),
            sample_stride=int(self.rng.integers(2, 8)),
        )

    def convolution(
        self,
        name: str,
        inputs: tuple[str, ...],
        given: tuple[int, int, int],
        channels: int,
        *,
        stride: int = 1,
        kind: str = "leaky",
        shortcut: Shortcut | None = None,
        filtered: bool = True,
    ) -> tuple[int, int, int]:
        """Add a 3x3 convolution; return its output's shape."""
        rng = self.rng
        geometry = Convolution(
            input_shape=given, window=Window(size=(3, 3), stride=stride, padding=(1, 1, 1, 1))
        )
        size = geometry.output_size
        weight = rng.integers(-127, 128, (channels, given[0], 3, 3))
        weight *= rng.random(weight.shape) < self.shape.weight_density
        reach = np.sqrt((weight.astype(float) ** 2).sum(axis=(1, 2, 3))) * 22 + 800
        multiplier, shift = choose_multipliers((60 / reach).tolist())
        negative = {"leaky": multiplier // 10, "rectified": 0 * multiplier, "bare": multiplier}
        if shortcut is not None:
            unit = (2.0**shift) / (shortcut.stride**2 if shortcut.kind == "average" else 1)
            scale = min(1.0, 65535 / unit) * unit * rng.uniform(0.6, 0.9)
            shortcut = Shortcut(
                input_shape=shortcut.input_shape,
                multiplier=max(1, int(scale)),
                kind=shortcut.kind,
                stride=shortcut.stride,
                first_channel=shortcut.first_channel,
            )
        layer = Layer(
            name=name,
            op=LayerOp.CONVOLUTION,
            inputs=inputs,
            weight=weight.astype(np.int8),
            bias=rng.integers(-400, 400, channels).astype(np.int32),
            multiplier=multiplier,
            negative_multiplier=negative[kind].astype(np.uint16),
            shift=shift,
            top_n=self.filter(channels * size[0] * size[1]) if filtered else TopN(),
            convolution=geometry,
            shortcut=shortcut,
        )
        self.layers.append(layer)
        return (channels, *size)

    def affine(self, name: str, source: str, shape: tuple[int, int, int]) -> None:
        """Add an affine layer with a leaky ReLU."""
        rng, channels = self.rng, shape[0]
        sign = np.where(rng.random(channels) < 0.3, -1, 1)
        multiplier, shift = choose_multipliers((rng.uniform(0.7, 1.6, channels) / 64).tolist())
        self.layers.append(
            Layer(
                name=name,
                op=LayerOp.AFFINE,
                inputs=(source,),
                weight=(AFFINE_UNIT * sign).astype(np.int8).reshape(-1, 1, 1, 1),
                bias=rng.integers(-40 * AFFINE_UNIT, 40 * AFFINE_UNIT, channels).astype(np.int32),
                multiplier=multiplier,
                negative_multiplier=(multiplier // 10).astype(np.uint16),
                shift=shift,
                top_n=self.filter(shape[0] * shape[1] * shape[2]),
                convolution=Convolution(
                    input_shape=shape, window=Window(size=(1, 1)), channel_groups=channels
                ),
            )
        )

    def block(
        self, name: str, ends: tuple[str, str], given: tuple[int, int, int], channels: int
    ) -> tuple[tuple[str, str], tuple[int, int, int]]:
        """Add a block; return the names of what it carries and activates, and their shape."""
        carried, active = ends
        stride = 1 if channels == given[0] else 2
        pre_activation = self.shape.pre_activation
        shape = self.convolution(f"{name}.conv1", (active,), given, channels, stride=stride)
        averages = pre_activation and stride > 1 and min(given[1:]) > 1 and given[1] % 2 == 0
        shortcut = Shortcut(
            input_shape=given,
            multiplier=1,
            kind=ShortcutKind.AVERAGE if averages else ShortcutKind.SUBSAMPLE,
            stride=stride,
            first_channel=(channels - given[0]) // 2,
        )
        self.convolution(
            f"{name}.conv2",
            (f"{name}.conv1", carried),
            shape,
            channels,
            kind="bare" if pre_activation else "rectified",
            shortcut=shortcut,
            filtered=not pre_activation,
        )
        if not pre_activation:
            return (f"{name}.conv2", f"{name}.conv2"), shape
        self.affine(f"{name}.active", f"{name}.conv2", shape)
        return (f"{name}.conv2", f"{name}.active"), shape


def residual_network(
    rng: np.random.Generator,
    shape: ResidualShape,
    *,
    modes: tuple[ThresholdMode, ...] = (ThresholdMode.EXACT,),
) -> IntegerNetwork:
    """Return a network with random weights and masks.

    Parameters
    ----------
    rng
        Source of everything random.
    shape
        Of the network.
    modes
        From which each filter's is drawn.
    """
    maker = _Maker(rng=rng, shape=shape, modes=modes)
    given = (shape.channels, shape.size, shape.size)
    given = maker.convolution("conv1", (INPUT,), given, shape.stages[0])
    ends = ("conv1", "conv1")
    for stage, channels in enumerate(shape.stages):
        for number in range(shape.blocks):
            name = f"layer{stage + 1}.{number}"
            ends, given = maker.block(name, ends, given, channels)
    whole = Window(size=given[1:])
    multiplier, shift = choose_multipliers([1 / (given[1] * given[2])] * given[0])
    average = Layer(
        name="average",
        op=LayerOp.AVERAGE_POOL,
        inputs=(ends[1],),
        weight=np.ones((given[0], 1, *whole.size), dtype=np.int8),
        bias=np.zeros(given[0], dtype=np.int32),
        multiplier=multiplier,
        negative_multiplier=multiplier,
        shift=shift,
        convolution=Convolution(input_shape=given, window=whole, channel_groups=given[0]),
    )
    classes = 10
    weight = rng.integers(-127, 128, (classes, given[0])).astype(np.int8)
    multiplier, shift = choose_multipliers([0.01] * classes)
    linear = Layer(
        name="linear",
        inputs=("average",),
        weight=weight,
        bias=rng.integers(-400, 400, classes).astype(np.int32),
        multiplier=multiplier,
        negative_multiplier=multiplier,
        shift=shift,
    )
    return IntegerNetwork(
        name="residual",
        input_shape=(shape.channels, shape.size, shape.size),
        layers=(*maker.layers, average, linear),
    )


def random_residual_network(rng: np.random.Generator) -> IntegerNetwork:
    """Return a small network of either kind of block, with filters of any mode."""
    first = int(rng.integers(1, 6))
    shape = ResidualShape(
        size=int(rng.integers(3, 9)),
        channels=int(rng.integers(1, 4)),
        stages=(first, first + int(rng.integers(0, 5)))[: int(rng.integers(1, 3))],
        blocks=int(rng.integers(1, 3)),
        pre_activation=bool(rng.random() < 0.5),
        weight_density=float(rng.choice([0.1, 0.4, 1.0])),
    )
    return residual_network(rng, shape, modes=tuple(ThresholdMode))
