"""Sums back to int8 activations: bias, scale, round, clamp."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.numbers import INT8_MAX, MULTIPLIER_WIDTH, SHIFT_MAX, requantise

__all__ = ["Requantiser"]

_LOW_WIDTH = 18
"""Bits of the sum's magnitude that one MULT18X18D takes; a second one takes the rest."""


class Requantiser(wiring.Component):
    """One drain lane's ``clamp(round_half_even((acc + bias) * m * 2**-shift), -127, 127)``.

    `m` is `multiplier` for ``acc + bias >= 0`` and `negative_multiplier` otherwise. One value per
    cycle, `LATENCY` cycles from the inputs to the outputs, no stalls. Rounding to nearest with
    ties to even is symmetric about zero, so the pipeline works on sign and magnitude; the sum is
    taken modulo ``2**acc_width`` (the compiler proves that it fits). Sums of up to 18 bits take one
    18 x 18 multiplier, wider ones two.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    acc : in, signed(acc_width)
    bias : in, signed(32)
        Taken modulo ``2**acc_width``.
    multiplier, negative_multiplier : in, unsigned(16)
    shift : in, unsigned(6)
        0 to 40; sampled `SHIFT_DELAY` cycles after the value's other inputs.
    magnitude : out, unsigned(7)
        Of the result.
    negative : out
        Sign of the sum; a result of 0 may come with either sign.
    """

    LATENCY = 6
    SHIFT_DELAY = 4

    acc: Signal
    bias: Signal
    multiplier: Signal
    negative_multiplier: Signal
    shift: Signal
    magnitude: Signal
    negative: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "acc": In(signed(config.acc_width)),
                "bias": In(signed(32)),
                "multiplier": In(MULTIPLIER_WIDTH),
                "negative_multiplier": In(MULTIPLIER_WIDTH),
                "shift": In(6),
                "magnitude": Out(7),
                "negative": Out(1),
            }
        )

    def model(
        self,
        acc: NDArray[np.int64],
        bias: NDArray[np.int64],
        multiplier: NDArray[np.uint16],
        negative_multiplier: NDArray[np.uint16],
        shift: int,
    ) -> NDArray[np.int8]:
        """Return the results as signed activations, int8, the shape of `acc`."""
        half = 1 << (self._config.acc_width - 1)
        biased = (acc + bias + half) % (2 * half) - half
        return requantise(biased, multiplier, negative_multiplier, shift)

    def elaborate(self, platform: object) -> Module:
        return Module()
