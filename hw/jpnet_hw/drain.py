"""Drain: accumulators of all lanes to activation rows and thresholds."""

from amaranth.hdl import Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from jpnet_hw.layouts import acc_read_layout, load_layout, row_write_layout
from jpnet_hw.threshold import ThresholdCounter
from jpnet_spec.config import AcceleratorConfig

__all__ = ["Drain", "drain_job_layout"]


def drain_job_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What the drain needs to know of an instruction; fields as there."""
    return data.StructLayout(
        {
            "rows": unsigned(config.acc_addr_width + 1),
            "target_base": unsigned(config.act_addr_width),
            "param_base": unsigned((config.param_depth - 1).bit_length()),
            "shift": unsigned(6),
            "winners": unsigned(24),
            "threshold_mode": unsigned(2),
            "static_threshold": unsigned(7),
        }
    )


class Drain(wiring.Component):
    """Reads, re-arms, adds, requantises, writes and counts one row of outputs per cycle.

    A row holds one output of each lane. The groups' and clusters' sums are added in a pipelined
    tree, then requantised, written to the context's activation memory and counted for the
    threshold. Contexts are served in turn; a job's rows may follow another's without a gap.
    Nothing stalls.

    From `request` to the first `acc_read_valid` 1 cycle; from a row's `acc_read_valid` to its
    `row_valid` `latency` cycles; from the last `row_valid` to `done` 1 cycle in the modes NONE and
    STATIC, `THRESHOLD_CYCLES` in the modes EXACT and SAMPLED.

    Parameters
    ----------
    config
        The accelerator.
    read_latency
        Cycles from `acc_read_valid` to that row's `sums`, at least 2.

    Members
    -------
    flush : in
        While high: forgets jobs and rows under way. Accumulators keep what they hold.
    clear : in
        Pulse: re-arm all accumulators of all contexts, writing nothing. Only without jobs.
    clear_busy : out
        From the cycle after `clear` until every accumulator is re-armed.
    request : in, one bit a context
        Level; the context's sums are complete. Held until its `done`, then low for a cycle.
    jobs : in, one `drain_job_layout` a context
        Held stable from the request until `done`.
    done : out, one bit a context
        One-cycle pulse: all rows are written and the threshold is known.
    theta : out, one unsigned(7) a context
        The threshold; valid with the context's `done`.
    written : out, one bit a context
        Level, from the last row's write until `done`: only the threshold is missing.
    load_valid, load : in, `load_layout`
        Channel parameters, `param_layout` in the low bits of the data.
    acc_read_valid, acc_read : out, `acc_read_layout`
        Row to read and re-arm, for all lanes.
    sums : in, per cluster and group an array of `lanes` signed(acc_width)
        That row's sums, `read_latency` cycles later.
    row_valid, row : out, `row_write_layout`
        Finished row.
    row_index : out, unsigned(acc_addr_width)
        Its number within the tensor.

    Raises
    ------
    ValueError
        If `read_latency` is less than 2.
    """

    THRESHOLD_CYCLES = ThresholdCounter.LATENCY - 1

    flush: Signal
    clear: Signal
    clear_busy: Signal
    request: Signal
    jobs: list[data.View]
    done: Signal
    theta: list[Signal]
    written: Signal
    load_valid: Signal
    load: data.View
    acc_read_valid: Signal
    acc_read: data.View
    sums: list[list[data.View]]
    row_valid: Signal
    row: data.View
    row_index: Signal

    def __init__(self, config: AcceleratorConfig, *, read_latency: int) -> None:
        if read_latency < 2:
            raise ValueError(f"Drain.read_latency must be at least 2, not {read_latency!r}")
        self._config = config
        self._read_latency = read_latency
        lanes = data.ArrayLayout(signed(config.acc_width), config.lanes)
        super().__init__(
            {
                "flush": In(1),
                "clear": In(1),
                "clear_busy": Out(1),
                "request": In(config.contexts),
                "jobs": In(drain_job_layout(config)).array(config.contexts),
                "done": Out(config.contexts),
                "theta": Out(7).array(config.contexts),
                "written": Out(config.contexts),
                "load_valid": In(1),
                "load": In(load_layout(config)),
                "acc_read_valid": Out(1),
                "acc_read": Out(acc_read_layout(config)),
                "sums": In(lanes).array(config.clusters, config.groups),
                "row_valid": Out(1),
                "row": Out(row_write_layout(config)),
                "row_index": Out(config.acc_addr_width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        return Module()
