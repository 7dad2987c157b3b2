"""One lane: random lists and tokens against exact sums, back to back and with gaps."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from numpy.typing import NDArray

from jpnet_cosim.components import bench_config, packed
from jpnet_hw.lane import Lane
from jpnet_hw.layouts import acc_read_layout, group_token_layout, list_load_layout
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.image import Memory

_LISTS = 24
_ROWS = 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Lists:
    """Random weight lists; some are empty, some name one row again and again."""

    rows: list[NDArray[np.int64]]
    weights: list[NDArray[np.int64]]

    @classmethod
    def random(cls, rng: np.random.Generator) -> "_Lists":
        lengths = rng.choice([0, 0, 1, 1, 2, 3, 5, 9], _LISTS)
        spread = rng.choice([1, 2, _ROWS], _LISTS)
        return cls(
            rows=[rng.integers(0, s, n) for n, s in zip(lengths, spread, strict=True)],
            weights=[rng.integers(-127, 128, n) for n in lengths],
        )

    def sums(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return every row's sum; tokens hold (list, activation)."""
        total = np.zeros(_ROWS, dtype=np.int64)
        for pointer, act in tokens:
            np.add.at(total, self.rows[pointer], self.weights[pointer] * act)
        return total


class _Bench:
    def __init__(self, dut: Any, config: AcceleratorConfig, lists: _Lists) -> None:
        self.dut, self.config, self.lists = dut, config, lists
        self.issued = 0
        self.done = 0

    @classmethod
    async def start(cls, dut: Any, seed: int) -> "_Bench":
        bench = cls(dut, bench_config(), _Lists.random(np.random.default_rng(seed)))
        Clock(dut.clk, 10, unit="ns", impl="gpi").start()
        dut.i_valid.value = dut.load_valid.value = dut.drain_valid.value = 0
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        for context in range(bench.config.contexts):
            await bench.drain(context)
        await bench.load()
        cocotb.start_soon(bench._watch())
        return bench

    async def _watch(self) -> None:
        while True:
            await RisingEdge(self.dut.clk)
            self.issued += int(self.dut.issue.value)
            self.done |= int(self.dut.done.value)

    async def _load_entry(self, memory: Memory, address: int, value: int) -> None:
        fields = {"memory": memory, "address": address, "data": value}
        self.dut.load.value = packed(list_load_layout(self.config), **fields)
        self.dut.load_valid.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.load_valid.value = 0

    async def load(self) -> None:
        """Load all lists, and entries of other memories that must be ignored."""
        start = 0
        for pointer, (rows, weights) in enumerate(
            zip(self.lists.rows, self.lists.weights, strict=True)
        ):
            await self._load_entry(Memory.POINTER, pointer, start)
            await self._load_entry(Memory.PARAM, pointer, 0)
            for row, weight in zip(rows, weights, strict=True):
                await self._load_entry(Memory.WEIGHT, start, int(row) << 8 | int(weight) & 0xFF)
                await self._load_entry(Memory.INSTRUCTION, start, 0x55)
                start += 1
        await self._load_entry(Memory.POINTER, len(self.lists.rows), start)
        await ClockCycles(self.dut.clk, 4)

    async def send(self, context: int, pointer: int, act: int, *, last: bool = False) -> None:
        """Send a token as a group does: when room was there in the cycle before."""
        room = False
        while not room:
            await RisingEdge(self.dut.clk)
            self.dut.i_valid.value = 0
            room = bool(self.dut.room.value)
        fields = {"pointer": pointer, "stop": pointer + 1, "act": act, "context": context}
        fields |= {"last": int(last)}
        self.dut.i.value = packed(group_token_layout(self.config), **fields)
        self.dut.i_valid.value = 1

    async def job(self, context: int, tokens: NDArray[np.int64], *, gap: int = 0) -> None:
        """Send a job's tokens and its end, and wait until it is done."""
        self.done &= ~(1 << context)
        for pointer, act in tokens:
            await self.send(context, int(pointer), int(act))
            if gap:
                await RisingEdge(self.dut.clk)
                self.dut.i_valid.value = 0
                await ClockCycles(self.dut.clk, gap)
        await self.send(context, 0, 0, last=True)
        await RisingEdge(self.dut.clk)
        self.dut.i_valid.value = 0
        for _ in range(Lane.LATENCY + 10 * self.config.fifo_depth):
            if self.done >> context & 1:
                return
            await RisingEdge(self.dut.clk)
        raise AssertionError("the lane never reports that the job is done")

    async def drain(self, context: int) -> list[int]:
        """Read every row, one a cycle."""
        found = []
        for cycle in range(_ROWS + Lane.DRAIN_LATENCY):
            row = {"context": context, "row": min(cycle, _ROWS - 1)}
            self.dut.drain.value = packed(acc_read_layout(self.config), **row)
            self.dut.drain_valid.value = cycle < _ROWS
            await RisingEdge(self.dut.clk)
            if cycle >= Lane.DRAIN_LATENCY:
                found.append(int(self.dut.sum.value.to_signed()))
        return found


def _tokens(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    return np.stack([rng.integers(0, _LISTS, count), rng.integers(-127, 128, count)], axis=1)


@cocotb.test()
@cocotb.parametrize(seed=[1, 2, 3], gap=[0, 1, 3])
async def sums_are_exact_and_rows_are_rearmed(dut: Any, seed: int, gap: int) -> None:
    bench = await _Bench.start(dut, seed)
    rng = np.random.default_rng(seed + 100)
    for context in (0, bench.config.contexts - 1, 0):
        tokens = _tokens(rng, 60)
        await bench.job(context, tokens, gap=gap)
        assert await bench.drain(context) == bench.lists.sums(tokens).tolist()
        assert await bench.drain(context) == [0] * _ROWS


@cocotb.test()
async def a_context_drains_while_another_accumulates(dut: Any) -> None:
    bench = await _Bench.start(dut, 4)
    rng = np.random.default_rng(5)
    first, second = _tokens(rng, 50), _tokens(rng, 80)
    await bench.job(0, first)
    other = cocotb.start_soon(bench.job(1, second))
    await ClockCycles(dut.clk, 20)
    assert await bench.drain(0) == bench.lists.sums(first).tolist()
    await other
    assert await bench.drain(1) == bench.lists.sums(second).tolist()


@cocotb.test()
async def fed_lane_issues_a_product_every_cycle(dut: Any) -> None:
    bench = await _Bench.start(dut, 6)
    lengths = [len(rows) for rows in bench.lists.rows]
    long = np.argsort(lengths)[-3:]
    tokens = np.array([(pointer, 1) for pointer in np.tile(long, 20)])
    products = sum(lengths[pointer] for pointer, _ in tokens)
    cocotb.start_soon(bench.job(0, tokens))
    while not dut.issue.value:
        await RisingEdge(dut.clk)
    bench.issued = 1
    await ClockCycles(dut.clk, products - 1)
    assert bench.issued == products


@cocotb.test()
async def empty_job_is_done_and_sums_stay_zero(dut: Any) -> None:
    bench = await _Bench.start(dut, 7)
    await bench.job(0, np.zeros((0, 2), dtype=np.int64))
    assert await bench.drain(0) == [0] * _ROWS


@cocotb.test()
async def extreme_operands_are_exact(dut: Any) -> None:
    bench = await _Bench.start(dut, 8)
    for act in (-128, -127, 127):
        tokens = np.array([(pointer, act) for pointer in range(_LISTS)])
        await bench.job(0, tokens)
        assert await bench.drain(0) == bench.lists.sums(tokens).tolist()
