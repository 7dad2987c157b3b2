"""The drain's requantiser: one value a cycle, exact over the full range and every shift."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from numpy.typing import NDArray

from jpnet_cosim.components import bench_config
from jpnet_hw.requantiser import Requantiser
from jpnet_spec.numbers import SHIFT_MAX


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Values:
    """Inputs, all of shape (values,)."""

    acc: NDArray[np.int64]
    bias: NDArray[np.int64]
    multiplier: NDArray[np.uint16]
    negative_multiplier: NDArray[np.uint16]
    shift: NDArray[np.int64]

    def expected(self, model: Requantiser) -> list[int]:
        """Return the signed results."""
        results = np.zeros(len(self.acc), dtype=np.int8)
        for shift in np.unique(self.shift):
            these = self.shift == shift
            results[these] = model.model(
                self.acc[these],
                self.bias[these],
                self.multiplier[these],
                self.negative_multiplier[these],
                int(shift),
            )
        return [int(result) for result in results]


async def _run(dut: Any, values: _Values) -> list[int]:
    count = len(values.acc)
    found = []
    for cycle in range(count + Requantiser.LATENCY):
        if cycle < count:
            dut.acc.value = int(values.acc[cycle])
            dut.bias.value = int(values.bias[cycle])
            dut.multiplier.value = int(values.multiplier[cycle])
            dut.negative_multiplier.value = int(values.negative_multiplier[cycle])
        late = min(max(cycle - Requantiser.SHIFT_DELAY, 0), count - 1)
        dut.shift.value = int(values.shift[late])
        await RisingEdge(dut.clk)
        if cycle >= Requantiser.LATENCY:
            magnitude = int(dut.magnitude.value)
            found.append(-magnitude if dut.negative.value else magnitude)
    return found


async def _check(dut: Any, values: _Values) -> None:
    Clock(dut.clk, 10, unit="ns", impl="gpi").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    expected = values.expected(Requantiser(bench_config()))
    found = await _run(dut, values)
    for index, (want, got) in enumerate(zip(expected, found, strict=True)):
        assert want == got, f"value {index}: expected {want}, got {got}"


def _reach(width: int) -> int:
    return int(2 ** (width - 1))


@cocotb.test()
@cocotb.parametrize(seed=[1, 2])
async def random_values_are_exact_at_every_shift(dut: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reach = _reach(bench_config().acc_width)
    count = 2000
    spread = 2.0 ** -rng.integers(0, 16, count)
    await _check(
        dut,
        _Values(
            acc=(rng.integers(-reach, reach, count) * spread).astype(np.int64),
            bias=rng.integers(-reach // 4, reach // 4, count),
            multiplier=rng.integers(0, 2**16, count).astype(np.uint16),
            negative_multiplier=rng.integers(0, 2**16, count).astype(np.uint16),
            shift=rng.integers(0, SHIFT_MAX + 1, count),
        ),
    )


@cocotb.test()
async def extremes_are_exact(dut: Any) -> None:
    reach = _reach(bench_config().acc_width)
    accs = [-reach, -reach + 1, -1, 0, 1, reach - 1]
    multipliers = [0, 1, 2**15, 2**16 - 1]
    shifts = [0, 1, 16, 23, SHIFT_MAX]
    cases = [(acc, m, shift) for acc in accs for m in multipliers for shift in shifts]
    acc, multiplier, shift = (np.array(column) for column in zip(*cases, strict=True))
    await _check(
        dut,
        _Values(
            acc=acc,
            bias=np.zeros(len(cases), dtype=np.int64),
            multiplier=multiplier.astype(np.uint16),
            negative_multiplier=multiplier.astype(np.uint16),
            shift=shift,
        ),
    )


@cocotb.test()
async def ties_go_to_even(dut: Any) -> None:
    # (2 k + 1) / 2 for every k: the tie itself, and one step to either side of it.
    ties = np.arange(-250, 250) * 2 + 1
    acc = np.concatenate([ties * 256 + step for step in (-1, 0, 1)])
    count = len(acc)
    await _check(
        dut,
        _Values(
            acc=acc,
            bias=np.zeros(count, dtype=np.int64),
            multiplier=np.full(count, 2**7, dtype=np.uint16),
            negative_multiplier=np.full(count, 2**7, dtype=np.uint16),
            shift=np.full(count, 16),
        ),
    )
