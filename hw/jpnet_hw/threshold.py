"""Threshold of the top-N filter, from counting magnitudes."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.numbers import INT8_MAX

__all__ = ["ThresholdCounter"]


class ThresholdCounter(wiring.Component):
    """The smallest t with ``count(|a| > t) <= N`` over the counted magnitudes of a tensor.

    For each t from 0 to 126 a counter starts at N and falls by the counted magnitudes above t; it
    stays once it is negative, so any number of elements may come. The threshold is the number of
    negative counters, 0 to 127. One row of `lanes` magnitudes per cycle, no stalls; the threshold
    is valid `LATENCY` cycles after the last row and holds for at least one cycle; the next
    tensor's first row may follow in the cycle after the last.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    valid : in
        A row is there.
    first, last : in
        It is the tensor's first or last.
    counted : in, unsigned(lanes)
        Which of its magnitudes count; all in the exact mode, some in the sampled one.
    magnitudes : in, array of `lanes` unsigned(7)
    winners : in, unsigned(24)
        N; 65536 and more count as 65536. Sampled with the first row.
    done : out
        One-cycle pulse, `LATENCY` cycles after the last row.
    theta : out, unsigned(7)
        Valid with `done`.
    """

    LATENCY = 4

    valid: Signal
    first: Signal
    last: Signal
    counted: Signal
    magnitudes: data.View
    winners: Signal
    done: Signal
    theta: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "counted": In(config.lanes),
                "magnitudes": In(data.ArrayLayout(unsigned(7), config.lanes)),
                "winners": In(24),
                "done": Out(1),
                "theta": Out(7),
            }
        )

    def model(
        self, magnitudes: NDArray[np.int64], counted: NDArray[np.bool_], winners: int
    ) -> int:
        """Return the threshold of one tensor.

        Parameters
        ----------
        magnitudes : int64, shape (rows, lanes)
        counted : bool, shape (rows, lanes)
        winners
            N.
        """
        kept = magnitudes[counted]
        return next(t for t in range(INT8_MAX + 1) if int((kept > t).sum()) <= winners)

    def elaborate(self, platform: object) -> Module:
        return Module()
