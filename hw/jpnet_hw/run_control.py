"""Commands, errors, interrupts and the watchdog."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from jpnet_spec.config import AcceleratorConfig
from jpnet_spec.errors import ErrorCode
from jpnet_spec.registers import register

__all__ = ["RunControl"]


class _Events:
    """What happens in a cycle, and how long the state must still settle."""

    def __init__(self, settle_cycles: int) -> None:
        self.report = Signal(ErrorCode)
        self.done = Signal()
        self.expired = Signal()
        self.settle = Signal(range(settle_cycles + 1))


class RunControl(wiring.Component):
    """Carry out one load or run at a time; after any failure, return to idle without a program.

    A failure stops everything: `stop` resets the compute path while the bus finishes what is under
    way. The first error's code stays in `error` until it is cleared, but every error raises the
    interrupt.

    Parameters
    ----------
    config
        The accelerator.

    Members
    -------
    command : in, bits as in CONTROL
        Pulses.
    clear_error : in
        Pulse.
    clear_irq, irq_enable : in, bits as in IRQ_STATUS
        Pulses that clear pending interrupts; interrupts that raise `irq`.
    program_base, image_base, result_base, image_count, watchdog : in
        What software wrote; only the lowest bits of the addresses matter here.
    unmapped : in
        Pulse: a refused register access.
    failed, failure : in
        Pulse: a load or run cannot go on, and its `ErrorCode`.
    loading_done : in
        Level: neither loader nor clear is busy.
    streaming : in
        Level: blocks of lists that a run begins with are missing; a load or run goes on until then.
    written : in
        Pulse: a result is in memory.
    progress : in
        Something moved.
    bus_idle : in
        No transfer is under way.
    start_load, start_run : out
        Pulses.
    running : out
        A run goes on.
    stop : out
        Level, while everything returns to idle.
    busy, loaded : out
        As in STATUS.
    error : out, unsigned(32)
        Content of ERROR.
    irq_status : out, unsigned(2)
        Content of IRQ_STATUS.
    irq : out
        The interrupt.
    images_done : out, unsigned(32)
        Results of this run that are in memory.
    """

    command: Signal
    clear_error: Signal
    clear_irq: Signal
    irq_enable: Signal
    program_base: Signal
    image_base: Signal
    result_base: Signal
    image_count: Signal
    watchdog: Signal
    unmapped: Signal
    failed: Signal
    failure: Signal
    loading_done: Signal
    streaming: Signal
    written: Signal
    progress: Signal
    bus_idle: Signal
    start_load: Signal
    start_run: Signal
    running: Signal
    stop: Signal
    busy: Signal
    loaded: Signal
    error: Signal
    irq_status: Signal
    irq: Signal
    images_done: Signal

    def __init__(self, config: AcceleratorConfig) -> None:
        self._config = config
        super().__init__(
            {
                "command": In(len(register("CONTROL").bits)),
                "clear_error": In(1),
                "clear_irq": In(2),
                "irq_enable": In(2),
                "program_base": In(32),
                "image_base": In(32),
                "result_base": In(32),
                "image_count": In(32),
                "watchdog": In(32),
                "unmapped": In(1),
                "failed": In(1),
                "failure": In(ErrorCode),
                "loading_done": In(1),
                "streaming": In(1),
                "written": In(1),
                "progress": In(1),
                "bus_idle": In(1),
                "start_load": Out(1),
                "start_run": Out(1),
                "running": Out(1),
                "stop": Out(1),
                "busy": Out(1),
                "loaded": Out(1),
                "error": Out(32),
                "irq_status": Out(2),
                "irq": Out(1),
                "images_done": Out(32),
            }
        )

    @property
    def settle_cycles(self) -> int:
        """Longer than commands, answers and resets are under way to the other parts.

        `stop` goes from part to part: contexts, skippers and clusters have a stage each.
        """
        return 11 + self._config.contexts + 2 * self._config.clusters

    def elaborate(self, platform: object) -> Module:
        m = Module()
        events = _Events(self.settle_cycles)
        self._build_watchdog(m, events)
        self._build_sequence(m, events)
        self._build_interrupts(m, events)
        with m.If(self.written):
            m.d.sync += self.images_done.eq(self.images_done + 1)
        with m.If(self.start_run):
            m.d.sync += self.images_done.eq(0)
        return m

    def _command(self, name: str) -> Value:
        return (self.command & register("CONTROL").mask(name)).any()

    def _build_sequence(self, m: Module, events: _Events) -> None:
        """Start and stop loads and runs."""
        finished = Signal()
        starting = (self._command("LOAD") | self._command("RUN")) & ~self._command("ABORT")
        m.d.sync += [
            self.start_load.eq(0),
            self.start_run.eq(0),
            finished.eq(self.images_done == self.image_count),
        ]
        with m.If(events.settle != 0):
            m.d.sync += events.settle.eq(events.settle - 1)
        with m.If(self.unmapped):
            m.d.comb += events.report.eq(ErrorCode.UNMAPPED_REGISTER)
        with m.If(starting & self.busy):
            m.d.comb += events.report.eq(ErrorCode.START_WHILE_BUSY)
        with m.FSM(name="state"):
            with m.State("IDLE"):
                self._build_idle(m, events)
            with m.State("LOAD"):
                with m.If(self.loading_done & ~self.streaming & (events.settle == 0)):
                    m.d.comb += events.done.eq(1)
                    m.d.sync += [self.loaded.eq(1), self.busy.eq(0)]
                    m.next = "IDLE"
                self._build_failures(m, events)
            with m.State("RUN"):
                with m.If(finished & ~self.streaming & (events.settle == 0)):
                    m.d.comb += events.done.eq(1)
                    m.d.sync += [self.running.eq(0), self.busy.eq(0)]
                    m.next = "IDLE"
                self._build_failures(m, events)
            with m.State("STOP"):
                with m.If(self.bus_idle & (events.settle == 0)):
                    m.d.sync += [self.stop.eq(0), events.settle.eq(self.settle_cycles)]
                    m.next = "RELEASE"
            with m.State("RELEASE"), m.If(events.settle == 0):
                m.d.sync += self.busy.eq(0)
                m.next = "IDLE"

    def _build_idle(self, m: Module, events: _Events) -> None:
        """Take a command or refuse it."""
        load, run, abort = (self._command(name) for name in ("LOAD", "RUN", "ABORT"))
        shift = exact_log2(self._config.beat_bytes)
        program_odd = self.program_base[:shift].any()
        run_odd = self.image_base[:shift].any() | self.result_base[:shift].any()
        with m.If(abort):
            m.d.sync += self.loaded.eq(0)
        with m.Elif(load & run):
            m.d.comb += events.report.eq(ErrorCode.START_WHILE_BUSY)
        with m.Elif(run & ~self.loaded):
            m.d.comb += events.report.eq(ErrorCode.NOT_LOADED)
        with m.Elif((load & program_odd) | (run & (run_odd | (self.image_count == 0)))):
            m.d.comb += events.report.eq(ErrorCode.BAD_ARGUMENT)
        with m.Elif(load | run):
            m.d.sync += [
                self.start_load.eq(load),
                self.start_run.eq(run),
                self.running.eq(run),
                self.loaded.eq(run),
                self.busy.eq(1),
                events.settle.eq(self.settle_cycles),
            ]
            m.next = "LOAD"
            with m.If(run):
                m.next = "RUN"

    def _build_failures(self, m: Module, events: _Events) -> None:
        """Leave a load or run before its end."""
        with m.If(self.failed):
            m.d.comb += events.report.eq(self.failure)
        with m.Elif(events.expired):
            m.d.comb += events.report.eq(ErrorCode.WATCHDOG)
        with m.If(self.failed | events.expired | self._command("ABORT")):
            m.d.comb += events.done.eq(0)
            m.d.sync += [
                self.stop.eq(1),
                self.loaded.eq(0),
                self.running.eq(0),
                self.busy.eq(1),
                events.settle.eq(self.settle_cycles),
            ]
            m.next = "STOP"

    def _build_watchdog(self, m: Module, events: _Events) -> None:
        """Find out whether nothing moved for too long."""
        count = Signal(32)
        watched = self.busy & ~self.stop & ~self.progress
        m.d.sync += [
            count.eq(Mux(watched, count + 1, 0)),
            events.expired.eq(watched & (self.watchdog != 0) & (count == self.watchdog)),
        ]

    def _build_interrupts(self, m: Module, events: _Events) -> None:
        """Keep the first error and the pending interrupts."""
        reported = events.report != ErrorCode.NONE
        with m.If(self.clear_error):
            m.d.sync += self.error.eq(0)
        with m.If(reported & ((self.error == 0) | self.clear_error)):
            m.d.sync += self.error.eq(events.report)
        raised = Cat(events.done, reported)
        m.d.sync += self.irq_status.eq((self.irq_status & ~self.clear_irq) | raised)
        m.d.comb += self.irq.eq((self.irq_status & self.irq_enable).any())
