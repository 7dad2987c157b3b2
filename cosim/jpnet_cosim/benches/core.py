"""The whole core under cocotb: clock, AXI4 memory, AXI4-Lite host, capture of the monitor port."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, SimTimeoutError, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp
from numpy.typing import NDArray

from jpnet_cosim.runner import MemoryMap, NativeRun, RunRecord
from jpnet_cosim.scoreboard import Comparison, compare
from jpnet_cosim.trace import THRESHOLD_DTYPE, rows_of_writes, write_dtype
from jpnet_spec.counters import Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.model_file import load_network
from jpnet_spec.network import IntegerNetwork
from jpnet_spec.registers import register
from jpnet_spec.schedule import Schedule, load_schedule

__all__ = ["BASE", "IRQ_CYCLES", "Core", "Job", "pauses"]

BASE = 0x4000_0000
"""Where the bench's program lies."""

IRQ_CYCLES = 4
"""From the answer to a write of IRQ_STATUS or IRQ_ENABLE until the pin has followed."""

_CLOCK_NS = 10
_MEMORY_BYTES = 2**32


def pauses(seed: int, *, percent: int, longest: int = 2) -> Iterator[bool]:
    """Yield, cycle by cycle, whether a channel pauses; never longer than `longest` in a row."""
    rng = Random(seed)
    while True:
        if 100 * rng.random() < percent:
            yield from [True] * rng.randint(1, longest)
        yield False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """Network, schedule and images that a bench works with.

    Parameters
    ----------
    network, schedule
        What runs.
    images : int8, shape (images, *input_shape)
    """

    network: IntegerNetwork
    schedule: Schedule
    images: NDArray[np.int8]

    @classmethod
    def from_plusargs(cls) -> "Job":
        """Read the folder that the plusarg ``job`` names."""
        folder = Path(str(cocotb.plusargs["job"]))
        return cls(
            network=load_network(folder / "model.safetensors"),
            schedule=load_schedule(folder / "schedule.safetensors"),
            images=np.load(folder / "images.npy"),
        )


@dataclass
class _FaultyRam:
    """Addresses that the memory answers with an error."""

    read: set[int] = field(default_factory=set)
    write: set[int] = field(default_factory=set)


class Core:
    """Drives the core like a host.

    Parameters
    ----------
    dut
        The top module.
    job
        What runs.
    """

    def __init__(self, dut: Any, job: Job) -> None:
        self.dut = dut
        self.job = job
        self.schedule = job.schedule
        self._row_bytes = job.schedule.config.lanes * job.schedule.config.clusters
        self.map = MemoryMap.of(job.schedule, len(job.images), base_address=BASE)
        self.faults = _FaultyRam()
        self.writes: list[tuple[int, int, int, int, int, bytes]] = []
        self.thresholds: list[tuple[int, int, int, int]] = []
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=_MEMORY_BYTES)
        for model in (self.ram.read_if, self.ram.write_if, self.host.read_if, self.host.write_if):
            model.log.setLevel("ERROR")
        self._inject_faults()

    def _inject_faults(self) -> None:
        beat = self.schedule.config.beat_bytes
        read, write = self.ram.read_if._read, self.ram.write_if._write

        async def checked_read(address: int, length: int) -> bytes:
            if any(address <= fault < address + beat for fault in self.faults.read):
                raise OSError("injected read error")
            return bytes(await read(address, length))

        async def checked_write(address: int, data: bytes) -> None:
            if any(address <= fault < address + beat for fault in self.faults.write):
                raise OSError("injected write error")
            await write(address, data)

        self.ram.read_if._read = checked_read
        self.ram.write_if._write = checked_write

    @classmethod
    async def start(cls, dut: Any, *, stall_percent: int = 0, seed: int = 1) -> "Core":
        """Start the clock, reset the core and put program and images into memory."""
        core = cls(dut, Job.from_plusargs())
        Clock(dut.clk, _CLOCK_NS, unit="ns", impl="gpi").start()
        await core.reset()
        core._capture()
        if stall_percent:
            core.stall(stall_percent, seed)
        core.put_program(core.schedule.program)
        core.ram.write(core.map.images, core.schedule.layout_images(core.job.images).tobytes())
        return core

    def stall(self, percent: int, seed: int) -> None:
        """Pause every channel of both buses at random."""
        channels = (
            self.ram.read_if.ar_channel,
            self.ram.read_if.r_channel,
            self.ram.write_if.aw_channel,
            self.ram.write_if.w_channel,
            self.ram.write_if.b_channel,
            self.host.write_if.aw_channel,
            self.host.write_if.w_channel,
            self.host.write_if.b_channel,
            self.host.read_if.ar_channel,
            self.host.read_if.r_channel,
        )
        pausing = [pauses(16 * seed + index, percent=percent) for index in range(len(channels))]

        async def pause() -> None:
            while True:
                for channel, paused in zip(channels, pausing, strict=True):
                    channel.pause = next(paused)
                await RisingEdge(self.dut.clk)

        cocotb.start_soon(pause())

    async def reset(self) -> None:
        """Reset for a few cycles."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 4)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 2)

    def put_program(self, program: NDArray[np.uint32]) -> None:
        """Write a program image into memory."""
        self.ram.write(self.map.program, program.astype("<u4").tobytes())

    def _capture(self) -> None:
        dut = self.dut

        async def capture(valid: Any, keep: Callable[[], None]) -> None:
            while True:
                if not valid.value:
                    await RisingEdge(valid)
                await RisingEdge(dut.clk)
                if valid.value and not dut.rst.value:
                    keep()

        def keep_row() -> None:
            self.writes.append(
                (
                    int(dut.trace_row_image.value),
                    int(dut.trace_row_layer.value),
                    int(dut.trace_row_column.value),
                    int(dut.trace_row_address.value),
                    int(dut.trace_row_banks.value),
                    int(dut.trace_row_data.value).to_bytes(self._row_bytes, "little"),
                )
            )

        def keep_threshold() -> None:
            self.thresholds.append(
                (
                    int(dut.trace_theta_image.value),
                    int(dut.trace_theta_layer.value),
                    int(dut.trace_theta_value.value),
                    int(get_sim_time("ns")) // _CLOCK_NS,
                )
            )

        cocotb.start_soon(capture(dut.trace_row_valid, keep_row))
        cocotb.start_soon(capture(dut.trace_theta_valid, keep_threshold))

    async def write(self, name: str, value: int) -> AxiResp:
        """Write a register and return the answer."""
        return await self.write_offset(register(name).offset, value)

    async def write_offset(self, offset: int, value: int) -> AxiResp:
        """Write the register at an offset and return the answer."""
        answer = await self.host.write(offset, value.to_bytes(4, "little"))
        return answer.resp

    async def read(self, name: str) -> int:
        """Return a register's value."""
        answer = await self.host.read(register(name).offset, 4)
        assert answer.resp == AxiResp.OKAY, f"read of {name} was refused"
        return int.from_bytes(answer.data, "little")

    async def read_offset(self, offset: int) -> AxiResp:
        """Read the register at an offset and return the answer."""
        answer = await self.host.read(offset, 4)
        return answer.resp

    async def command(self, bit: str) -> None:
        """Trigger a command."""
        await self.write("CONTROL", register("CONTROL").mask(bit))

    async def status(self, bit: str) -> bool:
        """Return a bit of the status register."""
        return bool(await self.read("STATUS") & register("STATUS").mask(bit))

    async def wait_irq(self, limit_cycles: int) -> None:
        """Wait until the interrupt pin is up."""
        if self.dut.irq.value:
            return
        try:
            await with_timeout(RisingEdge(self.dut.irq), limit_cycles * _CLOCK_NS, "ns")
        except SimTimeoutError as error:
            raise AssertionError(f"no interrupt within {limit_cycles} cycles") from error

    async def finish(self, limit_cycles: int) -> ErrorCode:
        """Wait for the interrupt, clear it with the error, and return the error's code."""
        await self.wait_irq(limit_cycles)
        error = ErrorCode(await self.read("ERROR"))
        pending = await self.read("IRQ_STATUS")
        wanted = register("IRQ_STATUS").mask("ERROR" if error else "DONE")
        assert pending & wanted, f"IRQ_STATUS is {pending:#x} with error {error.name}"
        await self.wait_idle()
        await self.write("ERROR", 1)
        await self.write("IRQ_STATUS", 0xFFFF_FFFF)
        await ClockCycles(self.dut.clk, IRQ_CYCLES)
        assert not self.dut.irq.value, "irq stays up after it was cleared"
        return error

    async def wait_idle(self) -> None:
        """Wait until the core is not busy; no wait outlasts the longest transfer under way."""
        for _ in range(1000):
            if not await self.status("BUSY"):
                return
        raise AssertionError("the core stays busy")

    async def load(self) -> ErrorCode:
        """Load the program and return how that ended."""
        await self.write("IRQ_ENABLE", 3)
        await self.write("PROGRAM_BASE_LOW", self.map.program)
        await self.write("PROGRAM_BASE_HIGH", 0)
        await self.command("LOAD")
        return await self.finish(self.schedule.cycles_limit_load)

    async def start_run(self) -> None:
        """Start a run of all images."""
        self.writes.clear()
        self.thresholds.clear()
        size = len(self.job.images) * self.schedule.result_bytes
        self.ram.write(self.map.results, b"\x5a" * size)
        await self.write("IMAGE_BASE_LOW", self.map.images)
        await self.write("RESULT_BASE_LOW", self.map.results)
        await self.write("IMAGE_COUNT", len(self.job.images))
        await self.command("RUN")

    @property
    def run_limit(self) -> int:
        """Bound on the cycles of a run."""
        return (len(self.job.images) + 1) * self.schedule.cycles_limit_image

    async def run(self) -> ErrorCode:
        """Run all images and return how that ended."""
        await self.start_run()
        return await self.finish(self.run_limit)

    async def counters(self) -> dict[Counter, int]:
        """Return the performance counters."""
        return {
            counter: await self.read(f"COUNTER_{counter.name}_LOW")
            + (await self.read(f"COUNTER_{counter.name}_HIGH") << 32)
            for counter in Counter
        }

    async def record(self) -> NativeRun:
        """Return what the last run left behind, in the form the scoreboard takes."""
        count = len(self.job.images)
        size = self.schedule.result_bytes
        writes = np.array(
            [(*places, np.frombuffer(acts, dtype=np.int8)) for *places, acts in self.writes],
            dtype=write_dtype(self._row_bytes),
        )
        results = np.frombuffer(self.ram.read(self.map.results, count * size), dtype=np.int8)
        counters = await self.counters()
        outcome = RunRecord(
            images=count,
            images_done=await self.read("IMAGES_DONE"),
            cycles=counters[Counter.CYCLES],
            error=ErrorCode.NONE,
            counters=counters,
        )
        return NativeRun(
            rows=rows_of_writes(
                np.array(writes, dtype=write_dtype(self._row_bytes)), self.schedule
            ),
            thresholds=np.array(self.thresholds, dtype=THRESHOLD_DTYPE),
            results=results.reshape(count, size),
            load=outcome,
            runs=(outcome,),
            simulated_cycles=counters[Counter.CYCLES],
            seconds=0.0,
        )

    async def compare(self) -> Comparison:
        """Compare the last run with the integer network."""
        traces = self.job.network.run(self.job.images)
        return compare(self.schedule, traces, await self.record())

    async def check_good_run(self) -> None:
        """Load the good program, run it, and check everything it computes."""
        self.put_program(self.schedule.program)
        self.faults.read.clear()
        self.faults.write.clear()
        assert await self.load() is ErrorCode.NONE
        assert await self.status("LOADED")
        assert await self.run() is ErrorCode.NONE
        comparison = await self.compare()
        assert comparison.mismatches == 0, str(comparison)
