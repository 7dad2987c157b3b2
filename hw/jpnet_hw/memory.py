"""Synchronous memories with one write port, and one or two read ports."""

from amaranth.hdl import Module, Mux, ShapeLike, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PairMemory", "SyncMemory"]


class SyncMemory(wiring.Component):
    """Memory that synthesis maps to block RAM, or to distributed RAM when it is small.

    One write and one read per cycle. A read of the row being written in the same cycle returns
    anything: whoever reads must not use it. The content after power-up is undefined to the user;
    nothing clears it.

    Parameters
    ----------
    shape
        Of one row.
    depth
        Rows, at least 2.
    output_register
        Adds a register behind the memory: one more cycle, and no logic after a block RAM's slow
        output.

    Members
    -------
    w_en, w_addr, w_data : in
        Write port.
    r_addr : in
        Row to read; every cycle is a read.
    r_data : out
        The row, `latency` cycles later.
    """

    w_en: Signal
    w_addr: Signal
    w_data: Signal
    r_addr: Signal
    r_data: Signal

    def __init__(self, *, shape: ShapeLike, depth: int, output_register: bool = True) -> None:
        self._shape = shape
        self._depth = depth
        self._output_register = output_register
        addr = unsigned((depth - 1).bit_length())
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": In(addr),
                "w_data": In(shape),
                "r_addr": In(addr),
                "r_data": Out(shape),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from the address to the data."""
        return 2 if self._output_register else 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Otherwise synthesis builds, around each block RAM, logic that returns the old content.
        rows: memory.Memory = memory.Memory(
            shape=self._shape, depth=self._depth, init=[], attrs={"no_rw_check": "1"}
        )
        m.submodules.rows = rows
        write = rows.write_port()
        read = rows.read_port()
        m.d.comb += [
            write.en.eq(self.w_en),
            write.addr.eq(self.w_addr),
            write.data.eq(self.w_data),
            read.addr.eq(self.r_addr),
            read.en.eq(1),
        ]
        if self._output_register:
            r_data_q = Signal(self._shape, reset_less=True)
            m.d.sync += r_data_q.eq(read.data)
            m.d.comb += self.r_data.eq(r_data_q)
        else:
            m.d.comb += self.r_data.eq(read.data)
        return m


class PairMemory(wiring.Component):
    """Memory that gives two rows a cycle; synthesis maps it to one block RAM with two ports.

    The second reader shares its port with the writer: in a cycle of `w_en` it reads nothing of
    use. Otherwise as `SyncMemory` with an output register.

    Parameters
    ----------
    shape
        Of one row.
    depth
        Rows, at least 2.

    Members
    -------
    w_en, w_addr, w_data : in
        Write port.
    r_addrs : in, array of 2
        Rows to read.
    r_data : out, 2
        The rows, `LATENCY` cycles later.
    """

    LATENCY = 2

    w_en: Signal
    w_addr: Signal
    w_data: Signal
    r_addrs: data.View
    r_data: list[Signal]

    def __init__(self, *, shape: ShapeLike, depth: int) -> None:
        self._shape = shape
        self._depth = depth
        addr = unsigned((depth - 1).bit_length())
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": In(addr),
                "w_data": In(shape),
                "r_addrs": In(data.ArrayLayout(addr, 2)),
                "r_data": Out(shape).array(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows: memory.Memory = memory.Memory(
            shape=self._shape, depth=self._depth, init=[], attrs={"no_rw_check": "1"}
        )
        m.submodules.rows = rows
        write = rows.write_port()
        reads = [rows.read_port() for _ in range(2)]
        m.d.comb += [
            write.en.eq(self.w_en),
            write.addr.eq(reads[1].addr),
            write.data.eq(self.w_data),
            reads[0].addr.eq(self.r_addrs[0]),
            reads[1].addr.eq(Mux(self.w_en, self.w_addr, self.r_addrs[1])),
        ]
        for number, read in enumerate(reads):
            r_data_q = Signal(self._shape, name=f"r_data_{number}", reset_less=True)
            m.d.comb += [read.en.eq(1), self.r_data[number].eq(r_data_q)]
            m.d.sync += r_data_q.eq(read.data)
        return m
