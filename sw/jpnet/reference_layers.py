"""Layers that other accelerators were measured on, as networks."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.configs import preset
from jpnet_spec.convolution import Convolution
from jpnet_spec.network import INPUT, IntegerNetwork, Layer, LayerOp
from jpnet_spec.numbers import choose_multipliers
from jpnet_spec.topn import ThresholdMode, TopN
from jpnet_spec.window import Window

__all__ = [
    "MULTIPLIERS",
    "REFERENCE_LAYERS",
    "ReferenceLayer",
    "reference_config",
    "reference_images",
]

_WEIGHT_DENSITY, _ACTIVATION_DENSITY = 0.32, 0.31


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceLayer:
    """A 3x3 convolution of a thin ResNet, whose masks are uniformly random.

    Parameters
    ----------
    channels
        Of input and output.
    size
        Height and width of both.
    """

    channels: int
    size: int

    @property
    def name(self) -> str:
        """The layer's name."""
        return f"{self.channels} channels, {self.size}x{self.size}"

    def bank_words(self, clusters: int, act_word: int) -> int:
        """Return the words of activation memory that its input takes in each cluster."""
        return -(-self.size // clusters) * self.size * -(-self.channels // act_word)

    def network(self, rng: np.random.Generator) -> IntegerNetwork:
        """Return the convolution, and a layer that keeps a few numbers of its output.

        Without that the transfer of a whole map would be measured, too. Hardly any output survives
        the filter, so the second layer reads some rows of the map and issues nearly nothing.
        """
        channels = self.channels
        shape = (channels, self.size, self.size)
        window = Window(size=(3, 3), padding=(1, 1, 1, 1))
        kept = rng.random((channels, channels, 3, 3)) < _WEIGHT_DENSITY
        return IntegerNetwork(
            name=f"reference-{channels}x{self.size}",
            input_shape=shape,
            layers=(
                _convolution("conv", shape, window, _nonzero(rng, kept.shape) * kept),
                _convolution(
                    "sample",
                    shape,
                    Window(size=(1, 1), stride=4),
                    np.ones((1, channels, 1, 1), dtype=np.int64),
                    inputs=("conv",),
                ),
            ),
        )


_ARRANGEMENTS = {16: (1, 4), 64: (4, 4), 128: (4, 8)}
"""Groups and clusters, of 4 lanes each, by the number of multipliers."""

MULTIPLIERS = tuple(_ARRANGEMENTS)
"""Numbers of multipliers that are measured."""

REFERENCE_LAYERS = (
    ReferenceLayer(channels=16, size=32),
    ReferenceLayer(channels=32, size=16),
    ReferenceLayer(channels=64, size=8),
)
"""The layers of a thin ResNet."""


def reference_config(multipliers: int) -> AcceleratorConfig:
    """Return an accelerator with so many multipliers whose memories hold each of the networks."""
    groups, clusters = _ARRANGEMENTS[multipliers]
    base = preset("edge16" if multipliers == 16 else "edge64")
    # Input and output, and the few numbers that are kept of it.
    words = 3 * max(layer.bank_words(clusters, base.act_word) for layer in REFERENCE_LAYERS)
    return replace(
        base,
        groups=groups,
        clusters=clusters,
        weight_depth=4096,
        pointer_depth=2048,
        act_depth=1 << (words - 1).bit_length(),
        acc_depth=1024,
    )


def reference_images(
    rng: np.random.Generator, layer: ReferenceLayer, count: int
) -> NDArray[np.int8]:
    """Return inputs with uniformly random masks, int8, shape (count, channels, size, size)."""
    shape = (count, layer.channels, layer.size, layer.size)
    kept = rng.random(shape) < _ACTIVATION_DENSITY
    return (_nonzero(rng, shape) * kept).astype(np.int8)


def _nonzero(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return numbers from -127 to 127, but for 0."""
    magnitudes: NDArray[np.int64] = rng.integers(1, 128, shape)
    signs: NDArray[np.int64] = rng.choice((-1, 1), shape)
    return np.multiply(magnitudes, signs)


def _convolution(
    name: str,
    shape: tuple[int, int, int],
    window: Window,
    weight: NDArray[np.int64],
    inputs: tuple[str, ...] = (INPUT,),
) -> Layer:
    channels = len(weight)
    multiplier, shift = choose_multipliers([2.0**-12] * channels)
    return Layer(
        name=name,
        op=LayerOp.CONVOLUTION,
        inputs=inputs,
        weight=weight.astype(np.int8),
        bias=np.zeros(channels, dtype=np.int32),
        multiplier=multiplier,
        negative_multiplier=multiplier,
        shift=shift,
        top_n=TopN(mode=ThresholdMode.EXACT, winners=1),
        convolution=Convolution(input_shape=shape, window=window, channel_groups=1),
    )
