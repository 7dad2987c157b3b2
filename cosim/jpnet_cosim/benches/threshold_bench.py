"""The top-N filter: the threshold of tensors that follow each other without a gap."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from numpy.typing import NDArray

from jpnet_cosim.components import bench_config
from jpnet_hw.threshold import ThresholdCounter


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Tensor:
    """Magnitudes and which of them count, shape (rows, inputs), and where a tile begins anew."""

    magnitudes: NDArray[np.int64]
    counted: NDArray[np.bool_]
    winners: int
    tiles: tuple[int, ...] = ()

    @classmethod
    def random(cls, rng: np.random.Generator, inputs: int, rows: int, winners: int) -> "_Tensor":
        largest = int(rng.choice([1, 5, 127]))
        share = float(rng.choice([0.2, 1.0]))
        return cls(
            magnitudes=rng.integers(0, largest + 1, (rows, inputs)),
            counted=rng.random((rows, inputs)) < share,
            winners=winners,
            tiles=tuple(row for row in range(1, rows) if rng.random() < 0.1),
        )


def _inputs() -> int:
    config = bench_config()
    return config.lanes * config.clusters


def _pack(values: NDArray[np.int64], width: int) -> int:
    return sum(int(value) << width * lane for lane, value in enumerate(values))


def _cycles(tensors: list[_Tensor], gap: int) -> list[tuple[int, int] | None]:
    """Return what comes in each cycle: a tensor and its row, or nothing."""
    cycles: list[tuple[int, int] | None] = []
    earliest = 0
    for number, tensor in enumerate(tensors):
        for row in range(len(tensor.magnitudes)):
            if _is_last(tensor, row):
                cycles += [None] * (earliest - len(cycles))
                earliest = len(cycles) + ThresholdCounter.TILE_CYCLES
            cycles += [(number, row), *[None] * gap]
    return cycles + [None] * (ThresholdCounter.LATENCY + 1)


def _is_last(tensor: _Tensor, row: int) -> bool:
    return row == len(tensor.magnitudes) - 1 or row + 1 in tensor.tiles


async def _run(dut: Any, tensors: list[_Tensor], *, gap: int = 0) -> list[tuple[int, int]]:
    """Feed tensors and return (cycle after the last row, threshold) of each."""
    found: list[tuple[int, int]] = []
    last_rows: list[int] = []
    contexts = bench_config().contexts
    cycles = _cycles(tensors, gap)
    for cycle, (now, coming) in enumerate(zip(cycles, [*cycles[1:], None], strict=True)):
        dut.valid.value = now is not None
        dut.coming_last.value = coming is not None and _is_last(tensors[coming[0]], coming[1])
        if now is not None:
            number, row = now
            tensor = tensors[number]
            rows = len(tensor.magnitudes)
            dut.context.value = number % contexts
            dut.first.value = row == 0 or row in tensor.tiles
            dut.opens.value = row < min(tensor.tiles, default=rows)
            dut.last.value = _is_last(tensor, row)
            dut.closes.value = row >= max(tensor.tiles, default=0)
            dut.winners.value = tensor.winners
            dut.magnitudes.value = _pack(tensor.magnitudes[row], 7)
            dut.counted.value = _pack(tensor.counted[row], 1)
            if row == rows - 1:
                last_rows.append(cycle)
        await RisingEdge(dut.clk)
        if dut.done.value:
            found.append((cycle - last_rows[len(found)], int(dut.theta.value)))
    return found


async def _check(dut: Any, tensors: list[_Tensor], *, gap: int = 0) -> None:
    Clock(dut.clk, 10, unit="ns", impl="gpi").start()
    dut.valid.value = 0
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    model = ThresholdCounter(bench_config())
    expected = [
        (
            ThresholdCounter.LATENCY,
            model.model(tensor.magnitudes, tensor.counted, tensor.winners),
        )
        for tensor in tensors
    ]
    assert await _run(dut, tensors, gap=gap) == expected


@cocotb.test()
@cocotb.parametrize(gap=[0, 2])
async def random_tensors_back_to_back_are_exact(dut: Any, gap: int) -> None:
    rng = np.random.default_rng(gap + 1)
    inputs = _inputs()
    tensors = [
        _Tensor.random(rng, inputs, int(rows), int(rng.integers(1, rows * inputs + 2)))
        for rows in rng.integers(1, 40, 30)
    ]
    await _check(dut, tensors, gap=gap)


@cocotb.test()
async def extremes_are_exact(dut: Any) -> None:
    inputs = _inputs()
    tensors = []
    for magnitude in (0, 1, 126, 127):
        for winners in (1, inputs * 4 - 1, inputs * 4, inputs * 4 + 1, 2**24 - 1):
            shape = (4, inputs)
            tensors.append(
                _Tensor(
                    magnitudes=np.full(shape, magnitude),
                    counted=np.ones(shape, dtype=np.bool_),
                    winners=winners,
                )
            )
    await _check(dut, tensors)


@cocotb.test()
async def nothing_counted_gives_zero(dut: Any) -> None:
    shape = (3, _inputs())
    tensor = _Tensor(
        magnitudes=np.full(shape, 127), counted=np.zeros(shape, dtype=np.bool_), winners=1
    )
    await _check(dut, [tensor])
