"""Block RAMs return anything for a row that is being written; no result may depend on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib.memory import Memory

from jpnet_cosim.benches.core import Job
from jpnet_cosim.runner import BusModel, run_native
from jpnet_cosim.samples import GEOMETRIES
from jpnet_cosim.scoreboard import compare
from jpnet_hw.memory import SyncMemory
from jpnet_hw.verilog import emit
from jpnet_spec.errors import ErrorCode

CONFIG = GEOMETRIES["divided"]


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


@pytest.fixture(scope="module")
def garbled_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("garbled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyncMemory, "elaborate", elaborate_garbled)
        emit(CONFIG, folder)
    return folder


def test_no_result_depends_on_a_row_read_while_it_is_written(
    make_job: Callable[..., Job], garbled_dir: Path, cache_dir: Path
) -> None:
    job = make_job(CONFIG, images=60)
    for stall_percent in (0, 40):
        result = run_native(
            garbled_dir,
            schedule=job.schedule,
            images=job.images,
            cache_dir=cache_dir,
            bus=BusModel(stall_percent=stall_percent),
            optimise=False,
        )
        assert result.error is ErrorCode.NONE
        comparison = compare(job.schedule, job.network.run(job.images), result)
        assert comparison.mismatches == 0, str(comparison)
