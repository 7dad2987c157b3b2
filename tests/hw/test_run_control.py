from functools import cache

import pytest

from jpnet_hw.run_control import RunControl
from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.registers import register

shared_run_control = cache(RunControl)

CONFIG = AcceleratorConfig()
DONE, ERROR = (register("IRQ_STATUS").mask(bit) for bit in ("DONE", "ERROR"))


async def pulse(ctx, signal, value=1):
    ctx.set(signal, value)
    await ctx.tick()
    ctx.set(signal, 0)


async def command(ctx, dut, *bits):
    await pulse(ctx, dut.command, sum(register("CONTROL").mask(bit) for bit in bits))


async def expect(ctx, dut, *, error, irq, busy=0, loaded=0):
    await ctx.tick()
    got = (ctx.get(dut.error), ctx.get(dut.irq_status), ctx.get(dut.busy), ctx.get(dut.loaded))
    assert got == (error, irq, busy, loaded)
    await pulse(ctx, dut.clear_error)
    await pulse(ctx, dut.clear_irq, DONE | ERROR)
    assert ctx.get(dut.error) == 0
    assert ctx.get(dut.irq) == 0


async def setup(ctx, dut, *, load=True):
    ctx.set(dut.irq_enable, DONE | ERROR)
    ctx.set(dut.image_count, 3)
    ctx.set(dut.bus_idle, 1)
    ctx.set(dut.loading_done, 1)
    if load:
        await command(ctx, dut, "LOAD")
        await ctx.tick().repeat(dut.settle_cycles + 5)
        await expect(ctx, dut, error=0, irq=DONE, loaded=1)


def test_a_load_and_a_run_end_with_an_interrupt(simulate):
    dut = shared_run_control(CONFIG)

    async def bench(ctx):
        await setup(ctx, dut, load=False)
        ctx.set(dut.loading_done, 0)
        await command(ctx, dut, "LOAD")
        await ctx.tick().repeat(40)
        assert ctx.get(dut.busy)
        ctx.set(dut.streaming, 1)
        ctx.set(dut.loading_done, 1)
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.irq), "blocks are missing"
        ctx.set(dut.streaming, 0)
        await ctx.tick()
        assert ctx.get(dut.irq)
        await expect(ctx, dut, error=0, irq=DONE, loaded=1)
        for _ in range(2):
            await command(ctx, dut, "RUN")
            await ctx.tick().repeat(dut.settle_cycles + 5)
            for image in range(3):
                assert ctx.get(dut.running)
                assert ctx.get(dut.images_done) == image
                await pulse(ctx, dut.written)
            ctx.set(dut.streaming, 1)
            await ctx.tick().repeat(9)
            assert ctx.get(dut.running), "the next run's blocks are missing"
            ctx.set(dut.streaming, 0)
            await ctx.tick().repeat(2)
            assert not ctx.get(dut.running)
            await expect(ctx, dut, error=0, irq=DONE, loaded=1)

    simulate(dut, bench, budget=300)


@pytest.mark.parametrize(
    ("member", "value", "bits", "code"),
    [
        ("image_count", 0, ("RUN",), ErrorCode.BAD_ARGUMENT),
        ("image_base", 4, ("RUN",), ErrorCode.BAD_ARGUMENT),
        ("result_base", 1, ("RUN",), ErrorCode.BAD_ARGUMENT),
        ("program_base", 2, ("LOAD",), ErrorCode.BAD_ARGUMENT),
        ("watchdog", 9, ("LOAD", "RUN"), ErrorCode.START_WHILE_BUSY),
    ],
)
def test_a_bad_start_is_refused_and_the_program_stays(simulate, member, value, bits, code):
    dut = shared_run_control(CONFIG)

    async def bench(ctx):
        await setup(ctx, dut)
        ctx.set(getattr(dut, member), value)
        await command(ctx, dut, *bits)
        await expect(ctx, dut, error=code, irq=ERROR, loaded=1)

    simulate(dut, bench, budget=100)


def test_a_run_without_a_program_is_refused(simulate):
    dut = shared_run_control(CONFIG)

    async def bench(ctx):
        await setup(ctx, dut, load=False)
        await command(ctx, dut, "RUN")
        await expect(ctx, dut, error=ErrorCode.NOT_LOADED, irq=ERROR)

    simulate(dut, bench, budget=100)


@pytest.mark.parametrize("start", ["LOAD", "RUN"])
@pytest.mark.parametrize("cause", ["failure", "watchdog", "abort"])
def test_a_failure_waits_for_the_bus_and_forgets_the_program(simulate, start, cause):
    dut = shared_run_control(CONFIG)

    async def bench(ctx):
        await setup(ctx, dut)
        ctx.set(dut.loading_done, 0)
        ctx.set(dut.bus_idle, 0)
        ctx.set(dut.watchdog, 30)
        ctx.set(dut.progress, 1)
        await command(ctx, dut, start)
        await ctx.tick().repeat(50)
        assert not ctx.get(dut.stop)
        if cause == "failure":
            ctx.set(dut.failure, ErrorCode.AXI_READ)
            await pulse(ctx, dut.failed)
        elif cause == "abort":
            await command(ctx, dut, "ABORT")
        else:
            ctx.set(dut.progress, 0)
            await ctx.tick().repeat(35)
        await ctx.tick()
        code = {"failure": ErrorCode.AXI_READ, "watchdog": ErrorCode.WATCHDOG, "abort": 0}[cause]
        await expect(ctx, dut, error=code, irq=ERROR if code else 0, busy=1)
        await ctx.tick().repeat(40)
        assert ctx.get(dut.stop)
        ctx.set(dut.bus_idle, 1)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.stop)
        await expect(ctx, dut, error=0, irq=0, busy=1)
        await ctx.tick().repeat(dut.settle_cycles + 5)
        await expect(ctx, dut, error=0, irq=0)

    simulate(dut, bench, budget=400)


def test_the_first_error_stays_and_a_run_goes_on(simulate):
    dut = shared_run_control(CONFIG)

    async def bench(ctx):
        await setup(ctx, dut)
        await command(ctx, dut, "RUN")
        await ctx.tick().repeat(dut.settle_cycles + 5)
        await pulse(ctx, dut.unmapped)
        await command(ctx, dut, "LOAD")
        await expect(ctx, dut, error=ErrorCode.UNMAPPED_REGISTER, irq=ERROR, busy=1, loaded=1)
        await command(ctx, dut, "RUN")
        await expect(ctx, dut, error=ErrorCode.START_WHILE_BUSY, irq=ERROR, busy=1, loaded=1)

    simulate(dut, bench, budget=200)


def test_an_interrupt_waits_for_its_enable(simulate):
    dut = shared_run_control(CONFIG)

    async def bench(ctx):
        ctx.set(dut.irq_enable, DONE)
        await pulse(ctx, dut.unmapped)
        await ctx.tick()
        assert ctx.get(dut.irq_status) == ERROR
        assert not ctx.get(dut.irq)
        ctx.set(dut.irq_enable, ERROR)
        await ctx.tick()
        assert ctx.get(dut.irq)

    simulate(dut, bench, budget=64)
