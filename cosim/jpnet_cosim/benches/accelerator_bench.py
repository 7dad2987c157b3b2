"""The whole core: programs, registers, interrupts, and everything that can go wrong."""

from collections.abc import Callable
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp

from jpnet_cosim.benches.core import IRQ_CYCLES, Core
from jpnet_cosim.program_editor import ProgramEditor
from jpnet_cosim.scoreboard import compare_counters
from jpnet_spec.counters import STALL_COUNTERS, Counter
from jpnet_spec.errors import ErrorCode
from jpnet_spec.image import HeaderWord, Memory
from jpnet_spec.instruction import FORMAT_VERSION, LayerFlag
from jpnet_spec.registers import ID_VALUE, REGISTERS, Access, register


@cocotb.test()
async def every_tensor_is_right_in_free_flow(dut: Any) -> None:
    core = await Core.start(dut)
    await core.check_good_run()
    traces = core.job.network.run(core.job.images)
    record = await core.record()
    wrong = compare_counters(core.job.network, core.schedule, traces, record, core.job.images)
    assert not wrong, f"counters (expected, got): {wrong}"


@cocotb.test()
@cocotb.parametrize(seed=[1, 2])
async def every_tensor_is_right_under_random_stalls(dut: Any, seed: int) -> None:
    core = await Core.start(dut, stall_percent=40, seed=seed)
    await core.check_good_run()
    assert await core.run() is ErrorCode.NONE
    comparison = await core.compare()
    assert comparison.mismatches == 0, str(comparison)


@cocotb.test()
async def lanes_account_for_every_cycle(dut: Any) -> None:
    core = await Core.start(dut, stall_percent=40, seed=3)
    await core.check_good_run()
    counters = await core.counters()
    accounted = counters[Counter.MACS] + sum(counters[counter] for counter in STALL_COUNTERS)
    assert accounted == core.schedule.config.mac_units * counters[Counter.CYCLES]


@cocotb.test()
async def registers_read_as_described_after_reset(dut: Any) -> None:
    core = await Core.start(dut)
    expected = {
        "ID": ID_VALUE,
        "VERSION": FORMAT_VERSION,
        "CONFIG_HASH": core.schedule.config.config_hash,
    }
    for entry in REGISTERS:
        assert await core.read(entry.name) == expected.get(entry.name, 0), entry.name


@cocotb.test()
async def writable_registers_hold_what_is_written(dut: Any) -> None:
    core = await Core.start(dut, stall_percent=30, seed=4)
    writable = [entry for entry in REGISTERS if entry.access is Access.WRITE]
    values = {}
    for index, entry in enumerate(writable):
        mask = sum(1 << bit.position for bit in entry.bits) or 0xFFFF_FFF0
        values[entry.name] = 0x1234_5670 * (index + 3) & mask
        if entry.name.endswith("_HIGH"):
            values[entry.name] &= (1 << max(core.schedule.config.axi_addr_width - 32, 0)) - 1
        assert await core.write(entry.name, values[entry.name]) == AxiResp.OKAY
    for name, value in values.items():
        assert await core.read(name) == value, name


@cocotb.test()
async def access_outside_the_map_is_an_error(dut: Any) -> None:
    core = await Core.start(dut)
    await core.write("IRQ_ENABLE", 3)
    mapped = {entry.offset for entry in REGISTERS}
    unmapped = [offset for offset in (0x44, 0xFC, 0x158, 0x7FC, 0xFFC) if offset not in mapped]
    for offset in unmapped:
        assert await core.read_offset(offset) == AxiResp.SLVERR, hex(offset)
        assert await core.finish(16) is ErrorCode.UNMAPPED_REGISTER
        assert await core.write_offset(offset, 1) == AxiResp.SLVERR, hex(offset)
        assert await core.finish(16) is ErrorCode.UNMAPPED_REGISTER
    await core.check_good_run()


@cocotb.test()
async def write_of_a_read_only_register_is_an_error(dut: Any) -> None:
    core = await Core.start(dut)
    await core.write("IRQ_ENABLE", 3)
    for entry in (entry for entry in REGISTERS if entry.access is Access.READ):
        before = await core.read(entry.name)
        assert await core.write(entry.name, 0xFFFF_FFFF) == AxiResp.SLVERR, entry.name
        assert await core.finish(16) is ErrorCode.UNMAPPED_REGISTER
        assert await core.read(entry.name) == before
    await core.check_good_run()


@cocotb.test()
async def first_error_stays_until_cleared(dut: Any) -> None:
    core = await Core.start(dut)
    await core.read_offset(0xFFC)
    await core.write("IMAGE_COUNT", 1)
    await core.command("RUN")
    assert await core.read("ERROR") == ErrorCode.UNMAPPED_REGISTER
    await core.write("ERROR", 1)
    assert await core.read("ERROR") == ErrorCode.NONE
    await core.command("RUN")
    assert await core.read("ERROR") == ErrorCode.NOT_LOADED


@cocotb.test()
async def run_without_a_program_is_refused(dut: Any) -> None:
    core = await Core.start(dut)
    await core.write("IRQ_ENABLE", 3)
    await core.start_run()
    assert await core.finish(64) is ErrorCode.NOT_LOADED
    await core.check_good_run()


@cocotb.test()
async def run_of_no_images_or_at_an_odd_address_is_refused(dut: Any) -> None:
    core = await Core.start(dut)
    assert await core.load() is ErrorCode.NONE
    for name, value in (("IMAGE_COUNT", 0), ("IMAGE_BASE_LOW", 4), ("RESULT_BASE_LOW", 2)):
        await core.write("IMAGE_COUNT", 1)
        await core.write("IMAGE_BASE_LOW", core.map.images)
        await core.write("RESULT_BASE_LOW", core.map.results)
        await core.write(name, value)
        await core.command("RUN")
        assert await core.finish(64) is ErrorCode.BAD_ARGUMENT, name
    await core.write("PROGRAM_BASE_LOW", core.map.program + 1)
    await core.command("LOAD")
    assert await core.finish(64) is ErrorCode.BAD_ARGUMENT
    await core.check_good_run()


@cocotb.test()
@cocotb.parametrize(command=["RUN", "LOAD"])
async def start_while_running_is_refused_and_the_run_goes_on(dut: Any, command: str) -> None:
    core = await Core.start(dut)
    assert await core.load() is ErrorCode.NONE
    await core.start_run()
    await ClockCycles(dut.clk, 40)
    assert await core.status("BUSY")
    await core.command(command)
    await core.wait_irq(16)
    assert await core.read("ERROR") == ErrorCode.START_WHILE_BUSY
    await core.write("ERROR", 1)
    await core.write("IRQ_STATUS", register("IRQ_STATUS").mask("ERROR"))
    await ClockCycles(dut.clk, IRQ_CYCLES)
    assert await core.finish(core.run_limit) is ErrorCode.NONE
    comparison = await core.compare()
    assert comparison.mismatches == 0, str(comparison)


@cocotb.test()
async def start_while_loading_is_refused_and_the_load_goes_on(dut: Any) -> None:
    core = await Core.start(dut)
    await core.write("IRQ_ENABLE", 3)
    await core.write("PROGRAM_BASE_LOW", core.map.program)
    await core.command("LOAD")
    await core.command("RUN")
    await core.wait_irq(16)
    assert await core.read("ERROR") == ErrorCode.START_WHILE_BUSY
    await core.write("ERROR", 1)
    await core.write("IRQ_STATUS", register("IRQ_STATUS").mask("ERROR"))
    await ClockCycles(dut.clk, IRQ_CYCLES)
    assert await core.finish(core.schedule.cycles_limit_load) is ErrorCode.NONE
    assert await core.run() is ErrorCode.NONE
    comparison = await core.compare()
    assert comparison.mismatches == 0, str(comparison)


_Edit = Callable[[ProgramEditor], Any]


def _header(word: HeaderWord, flip: int) -> _Edit:
    return lambda program: program.flip(word, flip).seal()


def _section(memory: Memory, word: int, bit: int) -> _Edit:
    return lambda program: program.flip(program.of(memory)[0].offset + word, bit).seal()


BAD_PROGRAMS: dict[str, tuple[ErrorCode, _Edit]] = {
    "magic": (ErrorCode.BAD_MAGIC, _header(HeaderWord.MAGIC, 3)),
    "version": (ErrorCode.BAD_VERSION, _header(HeaderWord.VERSION, 1)),
    "config": (ErrorCode.BAD_CONFIG, _header(HeaderWord.CONFIG, 31)),
    "header_crc": (ErrorCode.BAD_CRC, lambda p: p.flip(HeaderWord.CHECKSUM, 7)),
    "header_word": (ErrorCode.BAD_CRC, lambda p: p.flip(HeaderWord.TOTAL_WORDS, 4)),
    "weight_crc": (
        ErrorCode.BAD_CRC,
        lambda p: p.flip(p.of(Memory.WEIGHT)[0].first, 2),
    ),
    "last_word_crc": (
        ErrorCode.BAD_CRC,
        lambda p: p.flip(p.sections[-1].end - 1, 31),
    ),
    "section_memory": (ErrorCode.BAD_SECTION, _section(Memory.WEIGHT, 0, 5)),
    "section_lane": (ErrorCode.BAD_SECTION, _section(Memory.WEIGHT, 0, 15)),
    "section_cluster": (ErrorCode.BAD_SECTION, _section(Memory.POINTER, 0, 22)),
    "section_address": (ErrorCode.BAD_SECTION, _section(Memory.WEIGHT, 1, 15)),
    "section_count": (ErrorCode.BAD_SECTION, _section(Memory.PARAM, 1, 31)),
    "section_instruction": (ErrorCode.BAD_SECTION, _section(Memory.INSTRUCTION, 1, 15)),
}
"""Programs the loader must refuse: the error and how to make one from a good program."""

BAD_INSTRUCTIONS: dict[str, tuple[ErrorCode, _Edit]] = {
    "opcode": (ErrorCode.BAD_OPCODE, lambda p: p.set_field(1, "opcode", 0x77).seal()),
    "opcode_zero": (ErrorCode.BAD_OPCODE, lambda p: p.set_field(0, "opcode", 0).seal()),
    "block": (ErrorCode.BAD_FIELD, lambda p: p.set_field(0, "flags", 0x84).seal()),
    "rows_zero": (ErrorCode.BAD_FIELD, lambda p: p.set_field(1, "rows", 0).seal()),
    "rows": (ErrorCode.BAD_FIELD, lambda p: p.set_field(0, "rows", 0xFFF0).seal()),
    "shift": (ErrorCode.BAD_FIELD, lambda p: p.set_field(0, "shift", 41).seal()),
    "source_rows": (
        ErrorCode.BAD_FIELD,
        lambda p: p.set_field(1, "source_rows", 0xFFFF).seal(),
    ),
    "target_base": (ErrorCode.BAD_FIELD, lambda p: p.set_field(0, "target_base", 0xFFFF).seal()),
    "param_base": (ErrorCode.BAD_FIELD, lambda p: p.set_field(0, "param_base", 0xFFFF).seal()),
    "reserved_word": (ErrorCode.BAD_FIELD, lambda p: p.flip(p.instruction_word(0, 12), 31).seal()),
    "early_result": (
        ErrorCode.BAD_FIELD,
        lambda p: p.set_field(0, "flags", p.field(0, "flags") | LayerFlag.RESULT).seal(),
    ),
}
"""Programs with a malformed instruction, refused at load or when it is fetched."""


@cocotb.test()
@cocotb.parametrize(case=list(BAD_PROGRAMS))
async def bad_program_is_refused_and_the_next_one_runs(dut: Any, case: str) -> None:
    core = await Core.start(dut)
    code, edit = BAD_PROGRAMS[case]
    editor = ProgramEditor(core.schedule.program)
    edit(editor)
    core.put_program(editor.words)
    assert await core.load() is code
    assert not await core.status("LOADED")
    await core.check_good_run()


@cocotb.test()
async def bad_program_forgets_the_good_one(dut: Any) -> None:
    core = await Core.start(dut)
    await core.check_good_run()
    core.put_program(ProgramEditor(core.schedule.program).flip(HeaderWord.MAGIC, 0).words)
    assert await core.load() is ErrorCode.BAD_MAGIC
    await core.start_run()
    assert await core.finish(64) is ErrorCode.NOT_LOADED
    await core.check_good_run()


@cocotb.test()
@cocotb.parametrize(case=list(BAD_INSTRUCTIONS))
async def bad_instruction_stops_the_run_and_the_next_one_runs(dut: Any, case: str) -> None:
    core = await Core.start(dut)
    code, edit = BAD_INSTRUCTIONS[case]
    editor = ProgramEditor(core.schedule.program)
    edit(editor)
    core.put_program(editor.words)
    error = await core.load()
    if error is ErrorCode.NONE:
        error = await core.run()
    assert error is code
    assert not await core.status("LOADED")
    await core.check_good_run()


@cocotb.test()
async def read_error_in_the_program_stops_the_load(dut: Any) -> None:
    core = await Core.start(dut)
    size = 4 * int(core.schedule.program[HeaderWord.TOTAL_WORDS])
    for place in (0, size // 2, size - 1):
        core.faults.read = {core.map.program + place}
        assert await core.load() is ErrorCode.AXI_READ, place
        assert not await core.status("LOADED")
    await core.check_good_run()


@cocotb.test()
async def read_error_in_an_image_stops_the_run(dut: Any) -> None:
    core = await Core.start(dut)
    for place in (0, len(core.job.images) * core.schedule.image_bytes - 1):
        core.faults.read.clear()
        assert await core.load() is ErrorCode.NONE
        core.faults.read = {core.map.images + place}
        assert await core.run() is ErrorCode.AXI_READ, place
        assert not await core.status("LOADED")
    await core.check_good_run()


@cocotb.test()
async def write_error_in_a_result_stops_the_run(dut: Any) -> None:
    core = await Core.start(dut, stall_percent=20, seed=5)
    for place in (0, len(core.job.images) * core.schedule.result_bytes - 1):
        assert await core.load() is ErrorCode.NONE
        core.faults.write = {core.map.results + place}
        assert await core.run() is ErrorCode.AXI_WRITE, place
        core.faults.write.clear()
    await core.check_good_run()


@cocotb.test()
async def reset_in_mid_run_leaves_a_core_that_works(dut: Any) -> None:
    core = await Core.start(dut, stall_percent=20, seed=6)
    for cycles in (3, 50, 171, 400):
        assert await core.load() is ErrorCode.NONE
        await core.start_run()
        await ClockCycles(dut.clk, cycles)
        await core.reset()
        assert not await core.status("BUSY")
        assert not await core.status("LOADED")
    await core.check_good_run()


@cocotb.test()
async def reset_in_mid_load_leaves_a_core_that_works(dut: Any) -> None:
    core = await Core.start(dut)
    await core.write("PROGRAM_BASE_LOW", core.map.program)
    await core.command("LOAD")
    await ClockCycles(dut.clk, 60)
    await core.reset()
    assert not await core.status("BUSY")
    await core.check_good_run()


@cocotb.test()
async def abort_in_mid_run_forgets_the_program(dut: Any) -> None:
    core = await Core.start(dut, stall_percent=20, seed=7)
    for cycles in (1, 30, 90, 171, 300):
        assert await core.load() is ErrorCode.NONE
        await core.start_run()
        await ClockCycles(dut.clk, cycles)
        await core.command("ABORT")
        await core.wait_idle()
        assert not await core.status("LOADED")
        await core.start_run()
        assert await core.finish(64) is ErrorCode.NOT_LOADED
    await core.check_good_run()


@cocotb.test()
async def abort_in_mid_load_forgets_the_program(dut: Any) -> None:
    core = await Core.start(dut)
    for cycles in (1, 30, 100):
        await core.write("PROGRAM_BASE_LOW", core.map.program)
        await core.command("LOAD")
        await ClockCycles(dut.clk, cycles)
        await core.command("ABORT")
        await core.wait_idle()
        assert not await core.status("LOADED")
    await core.write("IRQ_STATUS", 3)
    await core.check_good_run()


@cocotb.test()
async def watchdog_ends_a_load_that_the_memory_never_answers(dut: Any) -> None:
    core = await Core.start(dut)
    await core.write("WATCHDOG", 200)
    await core.write("IRQ_ENABLE", 3)
    core.ram.read_if.r_channel.pause = True
    await core.write("PROGRAM_BASE_LOW", core.map.program)
    await core.command("LOAD")
    await core.wait_irq(400)
    assert await core.read("ERROR") == ErrorCode.WATCHDOG
    core.ram.read_if.r_channel.pause = False
    assert await core.finish(16) is ErrorCode.WATCHDOG
    await core.check_good_run()


@cocotb.test()
async def watchdog_ends_a_run_that_the_memory_never_answers(dut: Any) -> None:
    core = await Core.start(dut)
    assert await core.load() is ErrorCode.NONE
    await core.write("WATCHDOG", 300)
    for channel in (core.ram.read_if.r_channel, core.ram.write_if.b_channel):
        channel.pause = True
        await core.start_run()
        await core.wait_irq(core.run_limit)
        assert await core.read("ERROR") == ErrorCode.WATCHDOG
        channel.pause = False
        assert await core.finish(16) is ErrorCode.WATCHDOG
        assert await core.load() is ErrorCode.NONE
    await core.check_good_run()


@cocotb.test()
async def interrupts_wait_for_their_enable(dut: Any) -> None:
    core = await Core.start(dut)
    done, error = (register("IRQ_STATUS").mask(bit) for bit in ("DONE", "ERROR"))
    assert await core.load() is ErrorCode.NONE
    await core.write("IRQ_ENABLE", error)
    await core.start_run()
    await ClockCycles(dut.clk, core.run_limit)
    assert await core.read("IRQ_STATUS") == done
    assert not dut.irq.value
    await core.write("IRQ_ENABLE", done)
    await ClockCycles(dut.clk, IRQ_CYCLES)
    assert dut.irq.value
    await core.write("IRQ_STATUS", error)
    await ClockCycles(dut.clk, IRQ_CYCLES)
    assert dut.irq.value
    await core.write("IRQ_STATUS", done)
    await ClockCycles(dut.clk, IRQ_CYCLES)
    assert not dut.irq.value
