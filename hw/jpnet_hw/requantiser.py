"""Sums back to int8 activations: bias, scale, round, clamp."""

from functools import reduce
from operator import or_

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

_WINDOW = 15
"""Bits that are left after the shift by whole bytes."""


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
    SHIFT_DELAY = 3

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
        m = Module()
        width = self._config.acc_width
        negative_q = Signal(5, reset_less=True)
        magnitude = Signal(width, reset_less=True)
        scale = Signal(MULTIPLIER_WIDTH, reset_less=True)
        low = Signal(_LOW_WIDTH + MULTIPLIER_WIDTH, reset_less=True)
        high = Signal(max(width - _LOW_WIDTH, 0) + MULTIPLIER_WIDTH, reset_less=True)
        product = Signal(width + MULTIPLIER_WIDTH, reset_less=True)

        # Stage 1: bias, then sign and magnitude
        biased = Signal(signed(width))
        m.d.comb += biased.eq(self.acc + self.bias)
        m.d.sync += [
            negative_q.eq(Cat(biased[-1], negative_q)),
            magnitude.eq(Mux(biased[-1], -biased, biased)),
            scale.eq(Mux(biased[-1], self.negative_multiplier, self.multiplier)),
        ]

        # Stage 2: partial products. Stage 3: their sum
        m.d.sync += [
            low.eq(magnitude[:_LOW_WIDTH] * scale),
            high.eq(magnitude[_LOW_WIDTH:] * scale),
            product.eq(low + (high << _LOW_WIDTH)),
            self.negative.eq(negative_q[-1]),
        ]
        self._build_shift(m, product)
        return m

    def _build_shift(self, m: Module, product: Signal) -> None:
        """Shift right by whole bytes, then by bits with rounding and clamping."""
        # One bit more below, so that after the shift bit 0 is the half and an eighth bit suffices.
        wide = Cat(0, product)
        wide_q = Signal(len(wide), reset_less=True)
        counts = range(SHIFT_MAX // 8 + 1)
        window = Signal(_WINDOW, reset_less=True)
        above, sticky = Signal(reset_less=True), Signal(reset_less=True)
        shifted = Signal(_WINDOW)
        rounded = Signal(8)

        # Stage 4: which bytes, and what is set below and above each choice's window, in pieces
        chosen = Signal(len(counts), reset_less=True)
        lower, upper = Signal(len(counts), reset_less=True), Signal(len(counts), reset_less=True)
        fine = [Signal(3, name=f"fine_{stage}", reset_less=True) for stage in range(2)]
        below = Signal(7, reset_less=True)
        m.d.sync += [
            wide_q.eq(wide),
            chosen.eq(Cat(self.shift[3:] == count for count in counts)),
            lower.eq(Cat(wide[8 * count : 8 * count + 8].any() for count in counts)),
            upper.eq(Cat(wide[8 * count + _WINDOW :][:8].any() for count in counts)),
            fine[0].eq(self.shift[:3]),
        ]

        # Stage 5: whole bytes
        m.d.sync += [
            window.eq(
                reduce(
                    or_,
                    (Mux(chosen[count], wide_q[8 * count :][:_WINDOW], 0) for count in counts),
                )
            ),
            above.eq(Cat(chosen[count] & upper[count:].any() for count in counts).any()),
            sticky.eq(Cat(chosen[count] & lower[:count].any() for count in counts).any()),
            fine[1].eq(fine[0]),
            below.eq((1 << fine[0]) - 1),
        ]

        # Stage 6: bits, round half to even, clamp
        dropped = (window & below).any()
        round_up = shifted[0] & (shifted[1] | sticky | dropped)
        m.d.comb += [
            shifted.eq(window >> fine[1]),
            rounded.eq(shifted[1:8] + round_up),
        ]
        clamped = above | shifted[8:].any() | rounded[7]
        m.d.sync += self.magnitude.eq(Mux(clamped, INT8_MAX, rounded))
