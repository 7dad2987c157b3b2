from functools import cache

import numpy as np
import pytest

from jpnet_hw.requantiser import Requantiser
from jpnet_spec.config import AcceleratorConfig

shared_requantiser = cache(Requantiser)

WIDTHS = [16, 18, 19, 24, 32]


def bench_for(dut, operands, addends=None, *, increment=0):
    """Feed one value per cycle and compare each result `LATENCY` cycles later.

    Where something is added, `addends` holds the addends and their multipliers; a multiplier of 0
    is a value to which nothing is added. The increment is the same for all values.
    """
    count = len(operands[0])
    shifts = operands[4]
    added = np.zeros((2, count), dtype=np.int64) if addends is None else addends

    def expected(i):
        acc, *others = (np.array(operand[i : i + 1]) for operand in operands[:4])
        values = (acc + increment, *others)
        if not added[1, i]:
            return int(dut.model(*values, int(shifts[i]))[0])
        addend, multiplier = added[:, i]
        shift = int(shifts[i])
        of_sum = dut.model(
            *values, shift, addend=np.array([addend]), addend_multiplier=int(multiplier)
        )
        return int(of_sum[0])

    async def bench(ctx):
        got = []
        ctx.set(dut.increment, increment)
        for cycle in range(count + dut.LATENCY):
            index = min(cycle, count - 1)
            ports = (dut.acc, dut.bias, dut.multiplier, dut.negative_multiplier)
            for port, values in zip(ports, operands, strict=False):
                ctx.set(port, int(values[index]))
            ctx.set(dut.adding, int(added[1, index] != 0))
            late = max(0, min(cycle - dut.ADDEND_DELAY, count - 1))
            ctx.set(dut.addend, int(added[0, late]))
            ctx.set(dut.addend_multiplier, int(added[1, late]))
            ctx.set(dut.shift, int(shifts[max(0, min(cycle - dut.SHIFT_DELAY, count - 1))]))
            if cycle >= dut.LATENCY:
                magnitude = ctx.get(dut.magnitude)
                got.append(-magnitude if ctx.get(dut.negative) else magnitude)
            await ctx.tick()
        assert got == [expected(i) for i in range(count)]

    return bench


def sums(rng, count, width):
    """Return sums of all magnitudes: as many near 0 as near the ends of the range."""
    bits = rng.integers(1, width, count)
    return rng.integers(0, 2**bits) * rng.choice([-1, 1], count)


@pytest.mark.parametrize("width", WIDTHS)
def test_random_values_match_model(width, rng, simulate):
    count = 1000
    acc, bias = sums(rng, count, width), sums(rng, count, width)
    scales = rng.integers(0, 2 ** rng.integers(1, 17, (2, count))).astype(np.uint16)
    shifts = rng.integers(0, 41, count)
    # Half of the values get the shift that brings the result near the clamping range.
    product = np.abs(acc + bias).astype(float) * np.where(acc + bias < 0, scales[1], scales[0])
    fitting = np.clip(np.log2(np.maximum(product, 1)) - 6, 0, 40).astype(np.int64)
    shifts = np.where(np.arange(count) % 2, shifts, fitting)
    dut = shared_requantiser(AcceleratorConfig(acc_width=width))
    simulate(dut, bench_for(dut, (acc, bias, *scales, shifts)), budget=count + 20)


@pytest.mark.parametrize("width", WIDTHS)
def test_random_addends_match_model(width, rng, simulate):
    count = 1500
    acc, bias = sums(rng, count, width), sums(rng, count, width)
    scales = rng.integers(0, 2 ** rng.integers(1, 17, (2, count))).astype(np.uint16)
    scales[1] = np.where(rng.random(count) < 0.5, 0, scales[0])
    addends = np.stack([rng.integers(-512, 512, count), rng.integers(0, 2**16, count)])
    addends[1] *= rng.random(count) < 0.8
    # Some totals are near 0, because sum and addend nearly cancel each other.
    near = rng.random(count) < 0.3
    ratio = -addends[0] * addends[1] // np.maximum(scales[0], 1).astype(np.int64)
    limit = 2 ** (width - 1) - 1
    acc = np.where(near, np.clip(ratio + rng.integers(-2, 3, count), -limit, limit), acc)
    bias[near] = 0
    total = np.abs((acc + bias) * scales[0].astype(float) + addends[0] * addends[1])
    fitting = np.clip(np.log2(np.maximum(total, 1)) - 6, 0, 40).astype(np.int64)
    shifts = np.where(np.arange(count) % 3, fitting, rng.integers(0, 41, count))
    dut = shared_requantiser(AcceleratorConfig(acc_width=width))
    simulate(dut, bench_for(dut, (acc, bias, *scales, shifts), addends), budget=count + 20)


@pytest.mark.parametrize("width", [16, 24])
def test_extreme_addends(width, simulate):
    top = 2 ** (width - 1)
    grid = np.array(
        [
            (acc, scale, other, addend, multiplier, shift)
            for acc in (-top, -1, 0, 1, top - 1)
            for scale in (0, 1, 65535)
            for other in (0, scale)
            for addend in (-512, -508, -127, -1, 0, 1, 127, 508, 511)
            for multiplier in (1, 65535)
            for shift in (0, 1, 17, 39, 40)
        ]
    ).T
    dut = shared_requantiser(AcceleratorConfig(acc_width=width))
    scales = grid[1:3].astype(np.uint16)
    operands = (grid[0], np.zeros_like(grid[0]), *scales, grid[5])
    simulate(dut, bench_for(dut, operands, grid[3:5]), budget=grid.shape[1] + 20)


@pytest.mark.parametrize("shift", [0, 1, 2, 7, 8, 9, 15, 16, 33, 40])
def test_ties_go_to_even_and_their_neighbours_to_the_nearest(shift, simulate):
    cases = []
    for result in (0, 1, 2, 3, 63, 125, 126, 127, 128):
        halves = (2 * result + 1) << shift >> 1
        for scale in (1, 32768):
            base = halves // scale
            cases += [(sign * (base + step), scale) for step in (-1, 0, 1) for sign in (1, -1)]
    cases = [(acc, scale) for acc, scale in cases if abs(acc) < 2**31]
    acc = np.array([acc for acc, _ in cases])
    scale = np.array([scale for _, scale in cases], dtype=np.uint16)
    bias, shifts = np.zeros_like(acc), np.full(len(cases), shift)
    dut = shared_requantiser(AcceleratorConfig(acc_width=32))
    simulate(dut, bench_for(dut, (acc, bias, scale, scale, shifts)), budget=len(cases) + 20)


@pytest.mark.parametrize("width", WIDTHS)
def test_extreme_sums_biases_multipliers_and_shifts(width, simulate):
    top = 2 ** (width - 1)
    grid = np.array(
        [
            (acc, bias, scale, other, shift)
            for acc in (-top, -top + 1, -1, 0, 1, top - 1)
            for bias in (-top, 0, top - 1)
            for scale in (0, 1, 65535)
            for other in (0, 65535)
            for shift in (0, 1, 8, 23, 39, 40)
        ]
    ).T
    dut = shared_requantiser(AcceleratorConfig(acc_width=width))
    operands = (grid[0], grid[1], grid[2].astype(np.uint16), grid[3].astype(np.uint16), grid[4])
    simulate(dut, bench_for(dut, operands), budget=grid.shape[1] + 20)


def test_wide_biases_are_taken_modulo_the_accumulator(simulate):
    dut = shared_requantiser(AcceleratorConfig(acc_width=16))
    one = np.array([1, 1], dtype=np.uint16)
    operands = (np.array([3, -3]), np.array([1 << 16, -1 << 20]), one, one, np.array([0, 0]))
    assert dut.model(*operands[:4], 0).tolist() == [3, -3]
    simulate(dut, bench_for(dut, operands), budget=20)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_increment_is_added(width, simulate):
    top = 2 ** (width - 1)
    acc = np.array([0, -1, 5, -6, top - 2, -top])
    ones, zeros = np.ones(len(acc), dtype=np.uint16), np.zeros_like(acc)
    dut = shared_requantiser(AcceleratorConfig(acc_width=width))
    simulate(dut, bench_for(dut, (acc, zeros, ones, ones, zeros), increment=1), budget=40)
