"""Memories whose rows read as nonsense while they are written, as block RAMs may."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib.memory import Memory

from jpnet_cosim.samples import GEOMETRIES
from jpnet_hw.memory import SyncMemory

__all__ = ["GARBLED", "elaborate_garbled"]

GARBLED = GEOMETRIES["divided"]
"""The configuration that tests simulate with such memories."""


def elaborate_garbled(memory: SyncMemory, platform: object) -> Module:
    """Invert every bit that is read from a row in the cycle in which it is written."""
    m = Module()
    w_data, r_data = Value.cast(memory.w_data), Value.cast(memory.r_data)
    rows: Memory = Memory(shape=unsigned(len(w_data)), depth=1 << len(memory.w_addr), init=[])
    m.submodules.rows = rows
    write, read = rows.write_port(), rows.read_port()
    hit = Signal()
    m.d.sync += hit.eq(memory.w_en & (memory.w_addr == memory.r_addr))
    data: Value = Mux(hit, ~read.data, read.data)
    m.d.comb += [
        write.en.eq(memory.w_en),
        write.addr.eq(memory.w_addr),
        write.data.eq(w_data),
        read.addr.eq(memory.r_addr),
        read.en.eq(1),
    ]
    for stage in range(1, memory.latency):
        data_q = Signal(len(w_data), name=f"data_{stage}")
        m.d.sync += data_q.eq(data)
        data = data_q
    m.d.comb += r_data.eq(data)
    return m
