"""Sums back to int8 activations: bias, scale, round, clamp."""

from functools import reduce
from operator import or_

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from jpnet_hw.local_register import local_register
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.numbers import (
    INT8_MAX,
    MULTIPLIER_WIDTH,
    SHIFT_MAX,
    requantise,
    requantise_with_addend,
)

__all__ = ["ADDEND_WIDTH", "Requantiser"]

ADDEND_WIDTH = 10
"""Bits of what is added to a sum: an activation, or the sum of four."""

_LOW_WIDTH = 18
"""Low bits of the sum that one MULT18X18D takes; a second one takes the rest."""

_WINDOW = 15
"""Bits that are left after the shift by whole bytes."""


class Requantiser(wiring.Component):
    """One drain lane's ``clamp(round_half_even(total * 2**-shift), -127, 127)``.

    The total is ``(acc + bias) * m``, with `multiplier` as m for ``acc + bias >= 0`` and
    `negative_multiplier` otherwise. With `adding` it is ``(acc + bias) * multiplier + addend *
    addend_multiplier``, and the result is 0 where the total is negative and `negative_multiplier`
    is 0. One value per cycle, `LATENCY` cycles from the inputs to the outputs, no stalls. The sum
    ``acc + bias`` is taken modulo ``2**acc_width`` (the compiler proves that it fits). Sums of up
    to 18 bits take one 18 x 18 multiplier, wider ones two, and the addend one more.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    acc : in, signed(acc_width)
    increment : in
        Added to `acc`.
    bias : in, signed(32)
        Taken modulo ``2**acc_width``.
    multiplier, negative_multiplier : in, unsigned(16)
    adding : in
        The addend counts, and a negative sum has `multiplier` too.
    addend : in, signed(ADDEND_WIDTH)
    addend_multiplier : in, unsigned(16)
        0 without `adding`; both sampled `ADDEND_DELAY` cycles after the value's other inputs.
    shift : in, unsigned(6)
        0 to 40; sampled `SHIFT_DELAY` cycles after the value's other inputs.
    magnitude : out, unsigned(7)
        Of the result.
    negative : out
        Sign of the total; a result of 0 may come with either sign.
    """

    LATENCY = 7
    ADDEND_DELAY = 2
    SHIFT_DELAY = 3

    acc: Signal
    increment: Signal
    bias: Signal
    multiplier: Signal
    negative_multiplier: Signal
    adding: Signal
    addend: Signal
    addend_multiplier: Signal
    shift: Signal
    magnitude: Signal
    negative: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "acc": In(signed(config.acc_width)),
                "increment": In(1),
                "bias": In(signed(32)),
                "multiplier": In(MULTIPLIER_WIDTH),
                "negative_multiplier": In(MULTIPLIER_WIDTH),
                "adding": In(1),
                "addend": In(signed(ADDEND_WIDTH)),
                "addend_multiplier": In(MULTIPLIER_WIDTH),
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
        *,
        addend: NDArray[np.int64] | None = None,
        addend_multiplier: int = 0,
    ) -> NDArray[np.int8]:
        """Return the results as signed activations, int8, the shape of `acc`."""
        half = 1 << (self._config.acc_width - 1)
        biased = (acc + bias + half) % (2 * half) - half
        if addend is None:
            return requantise(biased, multiplier, negative_multiplier, shift)
        return requantise_with_addend(
            biased,
            addend,
            multiplier=multiplier,
            negative_multiplier=negative_multiplier,
            addend_multiplier=addend_multiplier,
            shift=shift,
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self._config.acc_width
        total = Signal(signed(width + MULTIPLIER_WIDTH + 1), reset_less=True)
        biased = Signal(signed(width))
        biased_q = Signal(signed(width), reset_less=True)
        scale = Signal(MULTIPLIER_WIDTH, reset_less=True)
        rectified = Signal(self.LATENCY - 2, reset_less=True)

        # Stage 1: bias, and which multiplier
        # A carry into one chain, not a second one.
        carried = Cat(1, self.acc) + Cat(self.increment, self.bias[:width])
        m.d.comb += biased.eq(carried[1:])
        m.d.sync += [
            biased_q.eq(biased),
            scale.eq(Mux(biased[-1] & ~self.adding, self.negative_multiplier, self.multiplier)),
            rectified.eq(Cat(self.negative_multiplier == 0, rectified)),
        ]

        # Stage 2: products. Stages 3 and 4: their sum
        low_part: Value = biased_q[:_LOW_WIDTH]
        if width <= _LOW_WIDTH:
            low_part = biased_q
        low = Signal((low_part * scale).shape(), reset_less=True)
        added = Signal(signed(ADDEND_WIDTH + MULTIPLIER_WIDTH), reset_less=True)
        product: Value = low
        if width > _LOW_WIDTH:
            high_part = biased_q[_LOW_WIDTH:].as_signed()
            high = Signal((high_part * scale).shape(), reset_less=True)
            m.d.sync += high.eq(high_part * scale)
            product = low + (high << _LOW_WIDTH)
        product_q = Signal(product.shape(), reset_less=True)
        m.d.sync += [
            low.eq(low_part * scale),
            product_q.eq(product),
            added.eq(self.addend * self.addend_multiplier),
            total.eq(product_q + added),
        ]
        self._build_shift(m, total, rectified[-1])
        return m

    def _build_shift(self, m: Module, total: Signal, rectified: Value) -> None:
        """Shift right by whole bytes, then by bits, then round and clamp."""
        counts = range(SHIFT_MAX // 8 + 1)
        negative = total[-1]
        # One bit more below, so that after the shift bit 0 is the half and an eighth bit suffices.
        wide = Cat(0, total)
        wide = Cat(wide, negative.replicate(8 * len(counts) + _WINDOW - len(wide)))
        negative_q = Signal(2, reset_less=True)
        m.d.sync += [
            negative_q.eq(Cat(negative, negative_q)),
            self.negative.eq(negative_q[-1]),
        ]

        # Stage 4, beside the sum: the shift's parts
        chosen = local_register(len(counts), name="chosen")
        fine = [local_register(3, name="fine_0"), Signal(3, name="fine_1", reset_less=True)]
        m.d.sync += [
            chosen.eq(Cat(self.shift[3:] == count for count in counts)),
            fine[0].eq(self.shift[:3]),
            fine[1].eq(fine[0]),
        ]

        # Stage 5: whole bytes; what is set below each choice's window, and above it unlike the
        # sign, in pieces; which of the window's bits the next stage drops and which it needs
        window = Signal(_WINDOW, reset_less=True)
        chosen_q = Signal.like(chosen, reset_less=True)
        lower, upper = Signal.like(chosen, reset_less=True), Signal.like(chosen, reset_less=True)
        below = Signal(7, reset_less=True)
        pieces = [wide[8 * count + _WINDOW :][:8] for count in counts]
        choices = (Mux(chosen[count], wide[8 * count :][:_WINDOW], 0) for count in counts)
        m.d.sync += [
            window.eq(reduce(or_, choices)),
            chosen_q.eq(chosen),
            lower.eq(Cat(wide[8 * count : 8 * count + 8].any() for count in counts)),
            upper.eq(Cat((piece ^ negative.replicate(len(piece))).any() for piece in pieces)),
            below.eq((1 << fine[0]) - 1),
        ]

        # Stage 6: bits, complemented where the sign is set; what was dropped; whether more is left
        # than eight bits
        ones = Signal(8, reset_less=True)
        inexact, above = Signal(reset_less=True), Signal(reset_less=True)
        cleared = Signal(reset_less=True)
        sign = negative_q[0]
        too_high = (window[8:] ^ sign.replicate(7)) & ~below
        m.d.sync += [
            ones.eq((window >> fine[1])[:8] ^ sign.replicate(8)),
            inexact.eq(
                Cat(
                    window[:7] & below, *(chosen_q[count] & lower[:count].any() for count in counts)
                ).any()
            ),
            above.eq(
                Cat(too_high, *(chosen_q[count] & upper[count:].any() for count in counts)).any()
            ),
            cleared.eq(sign & rectified),
        ]

        # Stage 7: round half to even, magnitude, clamp. The magnitude of a negative number is one
        # more than its complement, which rounding up takes back.
        sign = negative_q[-1]
        half, odd = ones[0] ^ sign, ones[1] ^ sign
        rounded = Signal(8)
        m.d.comb += rounded.eq(ones[1:] + ((half & (odd | inexact)) ^ sign))
        m.d.sync += self.magnitude.eq(
            Mux(cleared, 0, Mux(above | rounded[7], INT8_MAX, rounded[:7]))
        )
